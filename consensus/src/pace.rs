//! When the next height starts.
//!
//! The engine asks, after each decision, for the next height, and waits for the answer as long as it
//! takes: it keeps votes and proposals of the next height in bounded queues meanwhile, serves sync, and
//! answers nothing twice. That wait is what makes blocks on demand. This module decides its end; it is
//! pure, the caller brings the clock.

use std::time::{Duration, Instant};

/// How soon after a block an unproven call of a single peer starts the next one. Bounds the rate of empty
/// blocks that a Byzantine validator can cause, and the delay of work that only one validator knows of.
const CALL_INTERVAL: Duration = Duration::from_millis(100);

/// Longest wait for a quorum of peers after the start. The engine serves no sync request meanwhile.
const STARTUP_WAIT: Duration = Duration::from_secs(5);

/// Between a quorum being connected and the first message: the time gossip subscriptions take.
const STARTUP_SETTLE: Duration = Duration::from_millis(100);

/// The same while the first proposer is missing: waiting a little is cheaper than a propose timeout.
const STARTUP_SETTLE_WITHOUT_PROPOSER: Duration = Duration::from_secs(1);

/// Why a height starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// First height since the start.
    Startup,
    /// We catch up, or follow without a vote.
    Follow,
    /// The application has work.
    Work,
    /// The round's rightful proposer has proposed.
    Proposal,
    /// Another validator says that it has begun.
    Call,
    /// It has been quiet for long enough.
    Heartbeat,
}

/// What is known about the next height.
#[derive(Debug)]
pub(crate) struct Pace {
    min_interval: Duration,
    heartbeat: Duration,
    /// Whether we take part with votes.
    votes: bool,
    committed_at: Instant,
    follow: bool,
    proposed: bool,
    called: bool,
    startup: Option<Startup>,
}

#[derive(Debug)]
struct Startup {
    since: Instant,
    quorum_since: Option<Instant>,
    has_proposer: bool,
}

impl Pace {
    /// At the start of a node.
    pub(crate) fn new(
        min_interval: Duration,
        heartbeat: Duration,
        votes: bool,
        now: Instant,
    ) -> Self {
        Self {
            min_interval,
            heartbeat,
            votes,
            committed_at: now,
            follow: false,
            proposed: false,
            called: false,
            startup: Some(Startup {
                since: now,
                quorum_since: None,
                has_proposer: false,
            }),
        }
    }

    /// A block was committed; `synced` when it came with its certificate from a peer, so that there
    /// may be more.
    pub(crate) fn committed(&mut self, now: Instant, synced: bool) {
        self.committed_at = now;
        self.follow = synced;
        (self.proposed, self.called) = (false, false);
    }

    /// A height has been started.
    pub(crate) fn started(&mut self) {
        self.startup = None;
    }

    /// A proposal of the first round's proposer for the next height arrived.
    pub(crate) fn proposed(&mut self) {
        self.proposed = true;
    }

    /// A validator called for the next height, or for one beyond.
    pub(crate) fn called(&mut self) {
        self.called = true;
    }

    /// Whether more than two thirds of the power, and the next proposer, are connected, ourselves
    /// included.
    pub(crate) fn connected(&mut self, quorum: bool, proposer: bool, now: Instant) {
        if let Some(startup) = &mut self.startup {
            startup.quorum_since = quorum.then(|| startup.quorum_since.unwrap_or(now));
            startup.has_proposer = proposer;
        }
    }

    /// The cause to start now, or when to ask again.
    pub(crate) fn due(&self, now: Instant, has_work: bool) -> Result<Cause, Instant> {
        let (at, cause) = self.earliest(now, has_work);
        if at <= now { Ok(cause) } else { Err(at) }
    }

    fn earliest(&self, now: Instant, has_work: bool) -> (Instant, Cause) {
        if !self.votes {
            return (now, Cause::Follow);
        }
        if let Some(startup) = &self.startup {
            let settle = if startup.has_proposer {
                STARTUP_SETTLE
            } else {
                STARTUP_SETTLE_WITHOUT_PROPOSER
            };
            let latest = startup.since + STARTUP_WAIT;
            let at = startup
                .quorum_since
                .map_or(latest, |since| (since + settle).min(latest));
            return (at, Cause::Startup);
        }
        if self.follow {
            return (now, Cause::Follow);
        }
        let floor = self.committed_at + self.min_interval;
        let candidates = [
            (has_work, floor, Cause::Work),
            (self.proposed, floor, Cause::Proposal),
            (
                self.called,
                floor.max(self.committed_at + CALL_INTERVAL),
                Cause::Call,
            ),
            (
                true,
                floor.max(self.committed_at + self.heartbeat),
                Cause::Heartbeat,
            ),
        ];
        candidates
            .into_iter()
            .filter(|(holds, _, _)| *holds)
            .map(|(_, at, cause)| (at, cause))
            // The first of equals: causes are listed by weight.
            .min_by_key(|(at, _)| *at)
            .unwrap_or((floor + self.heartbeat, Cause::Heartbeat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(10);
    const HEARTBEAT: Duration = Duration::from_secs(5);

    fn running(now: Instant) -> Pace {
        let mut pace = Pace::new(MIN, HEARTBEAT, true, now);
        pace.started();
        pace.committed(now, false);
        pace
    }

    #[test]
    fn idle_until_the_heartbeat() {
        let now = Instant::now();
        let pace = running(now);
        assert_eq!(pace.due(now, false), Err(now + HEARTBEAT));
        assert_eq!(pace.due(now + HEARTBEAT, false), Ok(Cause::Heartbeat));
    }

    #[test]
    fn work_waits_for_the_interval_only() {
        let now = Instant::now();
        let pace = running(now);
        assert_eq!(pace.due(now, true), Err(now + MIN));
        assert_eq!(pace.due(now + MIN, true), Ok(Cause::Work));
    }

    #[test]
    fn a_proposal_is_joined_at_once_and_a_call_after_a_while() {
        let now = Instant::now();
        let mut pace = running(now);
        pace.called();
        assert_eq!(pace.due(now + MIN, false), Err(now + CALL_INTERVAL));
        assert_eq!(pace.due(now + CALL_INTERVAL, false), Ok(Cause::Call));
        pace.proposed();
        assert_eq!(pace.due(now + MIN, false), Ok(Cause::Proposal));
        pace.committed(now + MIN, false);
        assert_eq!(
            pace.due(now + MIN, false),
            Err(now + MIN + HEARTBEAT),
            "calls are spent"
        );
    }

    #[test]
    fn catching_up_and_observers_do_not_wait() {
        let now = Instant::now();
        let mut pace = running(now);
        pace.committed(now, true);
        assert_eq!(pace.due(now, false), Ok(Cause::Follow));
        let observer = Pace::new(MIN, HEARTBEAT, false, now);
        assert_eq!(observer.due(now, false), Ok(Cause::Follow));
    }

    #[test]
    fn the_start_waits_for_a_quorum_and_not_for_ever() {
        let now = Instant::now();
        let mut pace = Pace::new(MIN, HEARTBEAT, true, now);
        assert_eq!(pace.due(now, true), Err(now + STARTUP_WAIT));
        pace.connected(true, false, now + MIN);
        let late = now + MIN + STARTUP_SETTLE_WITHOUT_PROPOSER;
        assert_eq!(pace.due(now + MIN, true), Err(late));
        pace.connected(true, true, now + MIN + MIN);
        assert_eq!(pace.due(now + MIN, true), Err(now + MIN + STARTUP_SETTLE));
        assert_eq!(
            pace.due(now + MIN + STARTUP_SETTLE, false),
            Ok(Cause::Startup)
        );
        pace.connected(false, true, now + MIN);
        assert_eq!(pace.due(now + STARTUP_WAIT, false), Ok(Cause::Startup));
    }
}
