//! A warm scratch allocates nothing: the allocator counts. The rules are CRS when a checkout is beside this one (or in
//! `QANTRA_CRS`), else a few of every kind.

#![expect(unsafe_code, reason = "an allocator that counts is one by its trait")]

