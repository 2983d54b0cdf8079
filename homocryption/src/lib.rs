//! Computing on encrypted numbers.
//!
//! Two halves that share nothing but the name of their purpose:
//!
//! - Behind the feature `tfhe`: encrypted integers and packed vectors under a public key, with
//!   explicit noise accounting, on the `tfhe` crate.
//! - Without any feature: ring arithmetic for private rounds, which needs no `tfhe`.

pub mod ring;
