//! The ledger: what is agreed on, in which bytes, and what it does to the state.
//!
//! - [`tx`], [`update`], [`aggregate`], [`evidence`]: what a block can carry.
//! - [`block`], [`vote`], [`validators`]: what consensus decides and how a decision is proven.
//!
//! Invariants: everything hashed or signed is borsh under a domain string with the chain id inside;
//! nothing here reads a clock, draws randomness, does I/O (but for the store) or uses floats.

pub mod aggregate;
pub mod block;
pub mod evidence;
pub mod tx;
pub mod update;
pub mod validators;
pub mod vote;

pub use aggregate::{AggregateCertificate, AggregateStatement, AggregateVote};
pub use block::{Block, Header};
pub use evidence::Evidence;
pub use tx::{Registration, Transaction};
pub use update::{
    Availability, CertifiedRejection, CertifiedUpdate, Metrics, PayloadEncoding, RejectReason,
    SignedUpdate, Update, Verdict, VerdictVote,
};
pub use validators::{CertificateError, ValidatorSet};
pub use vote::{CommitCertificate, Vote, VoteKind};

pub use cifer_genesis::primitives::*;
pub use cifer_genesis::{PublicKey, SecretKey, Signature};
