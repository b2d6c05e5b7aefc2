//! Enters: what a test wants to stand on. Leaves: real servers, clients and networks. It must never stand in for what
//! is tested.

pub mod binary;
pub mod cable;
pub mod client;
pub mod daemon;
pub mod edge;
pub mod exchange;
pub mod flood;
pub mod kernel;
pub mod leaky;
pub mod netns;
pub mod onnx;
pub mod packet;
pub mod pcap;
pub mod program;
pub mod proxy;
pub mod random;
pub mod receiver;
pub mod rows;
pub mod tls;
pub mod upstream;
pub mod xdp_filter;
