//! Computing on encrypted numbers.
//!
//! So far: ring arithmetic for private rounds ([`ring`]). Encrypted integers under a public key are not
//! here yet.

pub mod ring;
