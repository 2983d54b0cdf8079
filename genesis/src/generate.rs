//! New documents: what `cifer genesis new` and `cifer testnet generate` fill in.

use std::net::IpAddr;

use crate::{
    bounds,
    crypto::PublicKey,
    document::{ConsensusParams, Contributors, Genesis, Limits, NamedKey, Task, Validator},
    error::GenesisError,
    primitives::{TimestampMs, VotingPower},
};

/// Collects the parts of a document; [`GenesisBuilder::build`] validates the whole.
#[derive(Debug, Clone)]
#[must_use]
pub struct GenesisBuilder(Genesis);

impl GenesisBuilder {
    /// A document without validators, contributors and tasks.
    pub fn new(chain_id: impl Into<String>, time_ms: TimestampMs) -> Self {
        Self(Genesis {
            version: bounds::VERSION,
            chain_id: chain_id.into(),
            time_ms,
            consensus: ConsensusParams::default(),
            limits: Limits::default(),
            allow_observers: true,
            contributors: Contributors::default(),
            byzantine_validators: None,
            validators: Vec::new(),
            tasks: Vec::new(),
        })
    }

    /// Adds a seat.
    pub fn validator(mut self, validator: Validator) -> Self {
        self.0.validators.push(validator);
        self
    }

    /// Adds seats.
    pub fn validators(mut self, validators: impl IntoIterator<Item = Validator>) -> Self {
        self.0.validators.extend(validators);
        self
    }

    /// Lets a contributor in.
    pub fn contributor(mut self, name: impl Into<String>, public_key: PublicKey) -> Self {
        self.0.contributors.allowed.push(NamedKey {
            name: name.into(),
            public_key,
        });
        self
    }

    /// Lets contributors in.
    pub fn contributors(mut self, contributors: impl IntoIterator<Item = NamedKey>) -> Self {
        self.0.contributors.allowed.extend(contributors);
        self
    }

    /// Whether anybody may register.
    pub const fn open_registration(mut self, open: bool) -> Self {
        self.0.contributors.open_registration = open;
        self
    }

    /// Whether peers without a seat are let in.
    pub const fn allow_observers(mut self, allow: bool) -> Self {
        self.0.allow_observers = allow;
        self
    }

    /// Byzantine validators that the set must withstand.
    pub const fn byzantine_validators(mut self, f: u64) -> Self {
        self.0.byzantine_validators = Some(f);
        self
    }

    /// Sets the pace.
    pub const fn consensus(mut self, consensus: ConsensusParams) -> Self {
        self.0.consensus = consensus;
        self
    }

    /// Sets the bounds.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// Adds a task.
    pub fn task(mut self, task: Task) -> Self {
        self.0.tasks.push(task);
        self
    }

    /// The document, if it describes a network that can work.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`] with every problem.
    pub fn build(self) -> Result<Genesis, GenesisError> {
        self.0.validate()?;
        Ok(self.0)
    }
}

impl Validator {
    /// A seat of power 1 on a host (an IP address or a DNS name): consensus over TCP, the data plane
    /// over QUIC and TCP on one port number. A host that is neither is refused by validation.
    #[must_use]
    pub fn on_host(
        name: impl Into<String>,
        public_key: PublicKey,
        host: &str,
        consensus_port: u16,
        data_port: u16,
    ) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => format!("/ip4/{ip}"),
            Ok(IpAddr::V6(ip)) => format!("/ip6/{ip}"),
            Err(_) => format!("/dns/{host}"),
        };
        Self {
            name: name.into(),
            public_key,
            power: VotingPower(1),
            consensus_address: format!("{host}/tcp/{consensus_port}"),
            data_addresses: vec![
                format!("{host}/udp/{data_port}/quic-v1"),
                format!("{host}/tcp/{data_port}"),
            ],
        }
    }
}

/// Most Byzantine validators of equal power that `validators` of them withstand: `n >= 3f + 1`.
#[must_use]
pub const fn max_byzantine(validators: u64) -> u64 {
    validators.saturating_sub(1) / 3
}
