//! The client: a network to verify against and gateways to talk through.

use std::sync::Arc;

use cifer_proto::v1;

use crate::{
    error::{ClientError, Fault},
    gateway::{Attempts, Gateway, Gateways},
    verify::{Network, bytes32},
};

/// Talks to a network through gateways that it does not trust. Cheap to clone; every operation is
/// cancelled by dropping its future.
#[derive(Debug, Clone)]
pub struct Client {
    network: Option<Arc<Network>>,
    gateways: Gateways,
}

impl Client {
    /// A client that verifies what it is told against `network`.
    #[must_use]
    pub fn new(network: Network, gateways: Gateways) -> Self {
        Self {
            network: Some(Arc::new(network)),
            gateways,
        }
    }

    /// A client without a genesis document: answers are the gateway's word, and what must be
    /// verified to be of use (models, updates) is refused.
    #[must_use]
    pub const fn unverified(gateways: Gateways) -> Self {
        Self {
            network: None,
            gateways,
        }
    }

    /// The network, if known.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.as_deref()
    }

    /// The gateways.
    #[must_use]
    pub const fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// The network, or an error that says how to get one.
    pub(crate) fn trusted(&self) -> Result<&Network, ClientError> {
        self.network.as_deref().ok_or_else(|| {
            ClientError::config("genesis", "", "this needs the network's genesis document")
        })
    }

    /// The next gateway to try, of our network.
    pub(crate) async fn gateway(&self, attempts: &mut Attempts) -> Result<Gateway, ClientError> {
        loop {
            let gateway = attempts.next().await?;
            match self.greet(&gateway).await {
                Ok(()) => return Ok(gateway),
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    /// Asks a gateway, once, to which network it belongs. Nothing rests on the answer, but "other
    /// genesis" explains more than a signature that does not verify.
    pub(crate) async fn greet(&self, gateway: &Gateway) -> Result<(), ClientError> {
        let Some(network) = self.network() else {
            return Ok(());
        };
        if !self.gateways.is_new(gateway) {
            return Ok(());
        }
        let mut query = gateway.query();
        let status = gateway
            .answer(query.get_status(v1::GetStatusRequest {}))
            .await?;
        let theirs =
            bytes32("genesis hash", &status.genesis_hash).map_err(|fault| gateway.fault(fault))?;
        if theirs != *network.hash().as_bytes() {
            let theirs = cifer_chain::GenesisHash::from_bytes(theirs);
            return Err(gateway.fault(Fault::Genesis {
                ours: network.hash(),
                theirs,
            }));
        }
        self.gateways.mark_good(gateway);
        Ok(())
    }
}
