//! The binary as a user sees it: every command that needs no network, and one node from start to stop.

mod aggregate;
mod basics;
mod config;
mod fhe;
mod genesis;
mod home;
mod keys;
mod query;
mod start;
mod support;
mod testnet;
