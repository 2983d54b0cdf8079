//! The way of events to the application, bounded in number and in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    Event,
    limits::MAX_UNHANDLED_BYTES,
    metrics::{self, Metrics},
};

/// Granularity of the byte budget, so that a permit count fits into `u32`.
const UNIT_BYTES: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct EventSink {
    sender: mpsc::Sender<Event>,
    budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl EventSink {
    pub(crate) fn new(sender: mpsc::Sender<Event>, metrics: Arc<Metrics>) -> Self {
        let budget = Arc::new(Semaphore::new(MAX_UNHANDLED_BYTES / UNIT_BYTES));
        Self {
            sender,
            budget,
            metrics,
        }
    }

    /// Tells the application; drops the event, and counts that, if it is behind.
    pub(crate) fn emit(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            metrics::increment(&self.metrics.events_dropped);
        }
    }

    /// A place for an event with a payload of `bytes`; the permit stays with the payload until the
    /// application has dealt with it. `None`: the application is behind.
    pub(crate) fn reserve(
        &self,
        bytes: usize,
    ) -> Option<(mpsc::Permit<'_, Event>, OwnedSemaphorePermit)> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).ok()?;
        let permit = self.budget.clone().try_acquire_many_owned(units).ok()?;
        let place = self.sender.try_reserve().ok()?;
        Some((place, permit))
    }
}
