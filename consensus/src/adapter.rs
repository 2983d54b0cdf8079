//! The state that the handlers share, and what several of them do.
//!
//! Everything here runs in one task ([`crate::run`]), so nothing is locked. The consensus actor waits for
//! most replies; what is slow does not belong here.

mod values;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_malachitebft_app_channel::{
    NetworkMsg,
    app::{
        engine::{host::Next, util::streaming::StreamContent},
        streaming::{StreamId, StreamMessage},
        types::core::{HeightParams, LinearTimeouts, Validator as _},
    },
};
use cifer_genesis::{Height, ValidatorId, VotingPower, document::ConsensusParams};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::{
    api::{Application, Fatal, Peer, Phase, Status},
    context::{Cifer, EngineHeight, EngineValidators},
    network::RawPeer,
    pace::{Cause, Pace},
    proposal::{Part, Streams, Undecided, Wake},
    reply::Reply,
    signing::CiferSigner,
};

/// How long a validator that began a height by itself waits for the round's proposal before it calls the
/// others. Usually all have the same work and nobody has to.
const CALL_DELAY: Duration = Duration::from_millis(20);

/// Longer intervals are cut to this: a clock reading plus any `u64` of milliseconds would overflow.
const MAX_INTERVAL_MS: u64 = 366 * 24 * 3600 * 1000;

/// No consensus timeout grows beyond this.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

fn interval(ms: u64) -> Duration {
    Duration::from_millis(ms.min(MAX_INTERVAL_MS))
}

/// The engine's question for the next height.
pub(crate) enum HeightReply {
    /// The first one.
    Ready(Reply<(EngineHeight, HeightParams<Cifer>)>),
    /// After a decision.
    Finalized(Reply<Next<Cifer>>),
}

impl HeightReply {
    fn start(self, height: EngineHeight, params: HeightParams<Cifer>) {
        match self {
            Self::Ready(reply) => reply.send((height, params)),
            // Never `Next::Restart`: it resets the write-ahead log.
            Self::Finalized(reply) => reply.send(Next::Start(height, params)),
        }
    }

    fn abandon(self, reason: &str) {
        match self {
            Self::Ready(reply) => reply.abandon(reason),
            Self::Finalized(reply) => reply.abandon(reason),
        }
    }
}

/// What does not change while an engine runs.
pub(crate) struct Settings {
    pub(crate) chain_id: Arc<str>,
    pub(crate) own: ValidatorId,
    pub(crate) params: ConsensusParams,
    pub(crate) max_block_bytes: u64,
    /// Absent on nodes that never vote.
    pub(crate) signer: Option<Arc<CiferSigner>>,
}

/// The application as the engine sees it.
pub(crate) struct Adapter<A> {
    pub(crate) app: A,
    pub(crate) settings: Settings,
    pub(crate) network: mpsc::Sender<NetworkMsg<Cifer>>,
    pub(crate) status: watch::Sender<Status>,
    /// Whether the peers' list is needed in a hurry.
    pub(crate) starting: watch::Sender<bool>,
    pub(crate) streams: Streams,
    pub(crate) undecided: Undecided,
    pub(crate) pace: Pace,
    /// The engine waits for the next height.
    pub(crate) waiting: Option<HeightReply>,
    /// The round the engine is in.
    pub(crate) position: Option<(Height, u32)>,
    /// Last height whose value came by sync.
    pub(crate) synced: Option<Height>,
    /// Rounds whose stored values were brought back.
    recalled: BTreeSet<(Height, u32)>,
    cause: Cause,
    call_at: Option<Instant>,
    validators: Option<EngineValidators>,
}

impl<A: Application> Adapter<A> {
    /// At the start of a node.
    pub(crate) fn new(
        app: A,
        settings: Settings,
        network: mpsc::Sender<NetworkMsg<Cifer>>,
        status: watch::Sender<Status>,
        starting: watch::Sender<bool>,
        now: Instant,
    ) -> Self {
        let pace = Pace::new(
            interval(settings.params.min_block_interval_ms),
            interval(settings.params.idle_heartbeat_ms),
            settings.signer.is_some(),
            now,
        );
        Self {
            app,
            settings,
            network,
            status,
            starting,
            streams: Streams::default(),
            undecided: Undecided::default(),
            pace,
            waiting: None,
            position: None,
            synced: None,
            recalled: BTreeSet::new(),
            cause: Cause::Startup,
            call_at: None,
            validators: None,
        }
    }

    /// The height that is decided now or next.
    pub(crate) fn next_height(&self) -> Result<Height, Fatal> {
        self.app
            .tip()
            .next()
            .ok_or_else(|| Fatal::new("the chain is at the last height"))
    }

    /// The validators of a height, if the application knows them.
    pub(crate) fn validators(&mut self, height: Height) -> Result<Option<EngineValidators>, Fatal> {
        let Some(set) = self.app.validators(height) else {
            return Ok(None);
        };
        // Sets change rarely and a schedule is work: keep the last one.
        if let Some(known) = &self.validators
            && *known.set() == set
        {
            return Ok(Some(known.clone()));
        }
        let validators = EngineValidators::new(set).map_err(Fatal::new)?;
        self.validators = Some(validators.clone());
        Ok(Some(validators))
    }

    /// The validators of a height the application must know.
    pub(crate) fn known_validators(&mut self, height: Height) -> Result<EngineValidators, Fatal> {
        self.validators(height)?
            .ok_or_else(|| Fatal::new(format!("no validators known for height {height}")))
    }

    /// Who proposes in the first round of the next height, if that is known.
    pub(crate) fn next_proposer(&mut self) -> Option<ValidatorId> {
        let next = self.next_height().ok()?;
        let validators = self.validators(next).ok()??;
        Some(validators.proposer(next, 0).address().0)
    }

    fn height_params(&mut self, height: Height) -> Result<HeightParams<Cifer>, Fatal> {
        let validators = self.known_validators(height)?;
        if self.settings.signer.is_none() && validators.contains(&self.settings.own) {
            // The engine would look for a signer that is not there.
            return Err(Fatal::new(
                "this key has a seat, but the node is not a validator",
            ));
        }
        let params = &self.settings.params;
        let propose = Duration::from_millis(params.timeout_propose_ms);
        let prevote = Duration::from_millis(params.timeout_prevote_ms);
        let precommit = Duration::from_millis(params.timeout_precommit_ms);
        let timeouts = LinearTimeouts {
            propose,
            propose_delta: propose / 2,
            prevote,
            prevote_delta: prevote / 2,
            precommit,
            precommit_delta: precommit / 2,
            rebroadcast: propose + prevote + precommit,
            max_timeout: MAX_TIMEOUT,
        };
        Ok(HeightParams::new(validators, timeouts, None))
    }

    /// Does what is due and returns when to be called again.
    pub(crate) async fn tick(&mut self, now: Instant) -> Result<Option<Instant>, Fatal> {
        let mut next = None;
        if self.waiting.is_some() {
            match self.pace.due(now, self.app.has_work()) {
                Ok(cause) => self.start_next(cause)?,
                Err(at) => next = Some(at),
            }
        }
        if let Some(at) = self.call_at {
            if at <= now {
                self.call_at = None;
                self.publish_call().await?;
            } else {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
            }
        }
        Ok(next)
    }

    fn start_next(&mut self, cause: Cause) -> Result<(), Fatal> {
        let height = self.next_height()?;
        let params = self.height_params(height)?;
        let Some(reply) = self.waiting.take() else {
            return Ok(());
        };
        debug!(%height, ?cause, "starting height");
        self.cause = cause;
        self.pace.started();
        self.starting.send_if_modified(std::mem::take);
        reply.start(EngineHeight(height), params);
        Ok(())
    }

    /// The engine is being stopped: no next height.
    pub(crate) fn abandon(&mut self, reason: &str) {
        if let Some(reply) = self.waiting.take() {
            reply.abandon(reason);
        }
    }

    /// Plans to call the others to this height, if we began it by ourselves and somebody else proposes.
    pub(crate) fn plan_call(&mut self, height: Height, round: u32, proposes: bool, now: Instant) {
        let by_ourselves = matches!(self.cause, Cause::Startup | Cause::Work | Cause::Follow);
        let has_proposal = self.undecided.of_round(height, round).next().is_some();
        let calls = round == 0
            && by_ourselves
            && !proposes
            && !has_proposal
            && self.settings.signer.is_some();
        self.call_at = calls.then(|| now + CALL_DELAY);
    }

    /// A proposal or a decision arrived: nobody has to be called.
    pub(crate) fn cancel_call(&mut self) {
        self.call_at = None;
    }

    async fn publish_call(&mut self) -> Result<(), Fatal> {
        let (Some((height, _)), Some(signer)) = (self.position, self.settings.signer.clone())
        else {
            return Ok(());
        };
        if !self.known_validators(height)?.contains(&self.settings.own) {
            return Ok(());
        }
        let signature = signer.sign(crate::proposal::WAKE_DOMAIN, &height);
        let wake = Wake {
            height,
            validator: self.settings.own,
            signature,
        };
        debug!(%height, "calling the other validators");
        self.publish(vec![Part::Wake(wake)]).await;
        Ok(())
    }

    /// Sends parts to the network as one stream.
    pub(crate) async fn publish(&mut self, parts: Vec<Part>) {
        let id = StreamId::new(rand::random::<[u8; 16]>().to_vec().into());
        for (part, sequence) in parts.into_iter().zip(0..) {
            let message = StreamMessage::new(id.clone(), sequence, StreamContent::Data(part));
            if self
                .network
                .send(NetworkMsg::PublishProposalPart(message))
                .await
                .is_err()
            {
                debug!("the engine's network has stopped");
                return;
            }
        }
    }

    /// Takes note of who is connected.
    pub(crate) fn peers_changed(&mut self, peers: &[RawPeer], now: Instant) -> Result<(), Fatal> {
        let next = self.next_height()?;
        let validators = self.known_validators(next)?;
        let proposer = validators.proposer(next, 0).address().0;
        let mut connected = validators
            .set()
            .power_of(&self.settings.own)
            .map_or(0, |power| power.0);
        let mut list = Vec::with_capacity(peers.len());
        for peer in peers {
            let validator = peer
                .key
                .map(ValidatorId)
                .filter(|id| validators.contains(id));
            if let Some(power) = validator.and_then(|id| validators.set().power_of(&id)) {
                connected = connected.saturating_add(power.0);
            }
            list.push(Peer {
                id: peer.id.clone(),
                validator,
                address: peer.address.clone(),
            });
        }
        let total = validators.set().total_power();
        let quorum = VotingPower(connected).is_more_than_two_thirds_of(total);
        let proposes = proposer == self.settings.own
            || list.iter().any(|peer| peer.validator == Some(proposer));
        self.pace.connected(quorum, proposes, now);
        self.status.send_if_modified(|status| {
            let changed = status.peers != list;
            if changed {
                status.peers = list;
            }
            changed
        });
        Ok(())
    }

    /// Shows where the engine is.
    pub(crate) fn show(&self, phase: Phase, proposer: Option<ValidatorId>) {
        let tip = self.app.tip();
        let refused = self
            .settings
            .signer
            .as_ref()
            .map_or(0, |signer| signer.refused());
        let round = self
            .position
            .filter(|_| phase == Phase::Running)
            .map(|(_, round)| round);
        self.status.send_modify(|status| {
            status.tip = tip;
            status.height = tip.next().unwrap_or(tip);
            status.round = round;
            status.proposer = proposer;
            status.phase = phase;
            status.signatures_refused = refused;
        });
    }

    /// Shows a failure.
    pub(crate) fn report(&self, error: String) {
        info!(error, "consensus reports a failure");
        self.status
            .send_modify(|status| status.last_error = Some(error));
    }
}
