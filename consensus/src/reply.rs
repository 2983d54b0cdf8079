//! A reply the engine waits for. Dropping one stalls the engine or hides a height from its peers, so
//! this wrapper is either sent, or abandoned with a reason, or loud.

use tokio::sync::oneshot;
use tracing::{debug, error};

/// The engine waits for this.
#[must_use = "the engine waits for this reply"]
#[derive(Debug)]
pub(crate) struct Reply<T> {
    sender: Option<oneshot::Sender<T>>,
    message: &'static str,
}

impl<T> Reply<T> {
    /// Wraps the engine's channel; `message` names what is answered.
    pub(crate) fn new(sender: oneshot::Sender<T>, message: &'static str) -> Self {
        Self {
            sender: Some(sender),
            message,
        }
    }

    /// Answers.
    pub(crate) fn send(mut self, value: T) {
        if let Some(sender) = self.sender.take()
            && sender.send(value).is_err()
        {
            // Only when the engine is being stopped.
            debug!(
                message = self.message,
                "the engine no longer waits for this reply"
            );
        }
    }

    /// Gives up the reply because the engine is being stopped.
    pub(crate) fn abandon(mut self, reason: &str) {
        self.sender = None;
        debug!(message = self.message, reason, "reply abandoned");
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if self.sender.is_some() && !std::thread::panicking() {
            error!(
                message = self.message,
                "reply to the engine dropped: it may stall"
            );
            debug_assert!(false, "reply to {} dropped", self.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_what_it_is_given() {
        let (sender, mut receiver) = oneshot::channel();
        Reply::new(sender, "test").send(7);
        assert_eq!(receiver.try_recv(), Ok(7));
    }

    #[test]
    fn abandoning_is_quiet() {
        let (sender, mut receiver) = oneshot::channel::<()>();
        Reply::new(sender, "test").abandon("stopping");
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    #[should_panic(expected = "reply to test dropped")]
    fn dropping_is_loud() {
        let (sender, _receiver) = oneshot::channel::<()>();
        drop(Reply::new(sender, "test"));
    }
}
