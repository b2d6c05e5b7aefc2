//! Enters: a [`RequestView`]. Leaves: its fields, decoded as an application would decode them, and protocol complaints.
//! Pure: it must never do IO, and no input may make it panic or take more than linear time.

mod request;

pub use request::RequestView;
