//! A node of a Cifer network: settings, home folder, keys, the engine room and its interfaces.
//!
//! - [`config`], [`home`], [`keys`], [`files`], [`log`]: what a process needs before it does anything.
//! - [`core`], [`run`]: the running node and how it is wired.
//! - [`grpc`], [`http`]: its interfaces.
//! - [`testnet`]: generates the home folders of a whole network.
//! - [`error`]: exit codes, and errors that say what to do next.
//!
//! The binary `cifer` (`main.rs`, `cli/`) parses command lines and calls into this library.

pub mod config;
pub mod core;
pub mod error;
pub mod files;
mod grpc;
pub mod home;
mod http;
pub mod keys;
pub mod log;
pub mod run;
pub mod testnet;
