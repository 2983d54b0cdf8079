//! Computing on encrypted numbers.
//!
//! Two halves that share nothing but the name of their purpose:
//!
//! - Behind the feature `tfhe`: encrypted integers, packed vectors and majority votes under a public
//!   key, with exact noise accounting, on the `tfhe` crate. Start at `generate_keys`.
//! - Without any feature: [`ring`], the cryptography of private rounds, which needs no `tfhe`.

#[cfg(feature = "tfhe")]
mod error;
#[cfg(feature = "tfhe")]
pub mod format;
#[cfg(feature = "tfhe")]
mod keys;
#[cfg(feature = "tfhe")]
mod lattice;
#[cfg(feature = "tfhe")]
pub mod majority;
#[cfg(feature = "tfhe")]
pub mod params;
pub mod ring;
#[cfg(feature = "tfhe")]
pub mod scalar;
#[cfg(feature = "tfhe")]
mod secret_file;
#[cfg(feature = "tfhe")]
pub mod vector;

#[cfg(feature = "tfhe")]
pub use {
    error::{Error, FormatError},
    format::Frame,
    keys::{KeyId, PrivateKey, PublicKey, RelinKey, generate_key_pair, generate_keys},
    scalar::{
        Scalar, add, add_scalar, decrypt, encrypt, mul, mul_scalar, mul_small, neg, relinearize,
        sub, sub_scalar,
    },
    vector::{Encoding, PackedVector},
};

/// Compiles and runs the example of the README.
#[cfg(all(doctest, feature = "tfhe"))]
#[doc = include_str!("../README.md")]
struct Readme;
