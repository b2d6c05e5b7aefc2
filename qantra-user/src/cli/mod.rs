//! Comes with its stage.
