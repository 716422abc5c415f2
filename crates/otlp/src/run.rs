//! Ways to send: as the body of a thread, or once.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::answer::{Answer, Verdict};
use crate::delivery;
use crate::io::Failure;
use crate::output::{Output, Owner};
use crate::partial::NOT_OTLP;
use crate::request::Request;
use crate::sender::Sender;

impl Output {
    /// The body of a thread: sends requests until its owner is stopping, then for at most
    /// [`SHUTDOWN_BUDGET`](crate::SHUTDOWN_BUDGET). What is left stays in the queue. There is one
    /// run at a time; after a panic the next one goes on with what waited and with what was under
    /// way.
    ///
    /// # Errors
    /// If the system has no descriptors for the runtime.
    pub fn run(&self, owner: &dyn Owner) -> io::Result<()> {
        let runtime = runtime()?;
        runtime.block_on(self.deliver(owner));
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
        Ok(())
    }

    /// [`Output::run`] on a runtime that is there, which has I/O and time.
    pub async fn deliver(&self, owner: &dyn Owner) {
        delivery::run(self, owner).await;
    }

    /// Sends one request once, beside the queue and the ledger, and says in words what the receiver
    /// answered. For a command that checks a configuration; blocks for at most the timeout.
    ///
    /// # Errors
    /// What stands in the way, or the receiver's refusal.
    pub fn send_once(&self, request: &Request) -> Result<String, String> {
        let runtime = runtime().map_err(|error| error.to_string())?;
        let sender = Sender::new(&self.resolved, &self.environment);
        let outcome = runtime.block_on(sender.send(request));
        let target = &self.resolved.receiver;
        // A receiver may repeat what it was sent.
        let said = |answer: &Answer| format!("{target} answers {}", sender.mask(&answer.to_string()));
        let answered = outcome.map(|answer| (said(&answer), answer.verdict, answer.text == NOT_OTLP));
        drop(sender);
        runtime.shutdown_background();
        let (text, verdict, is_other) = answered.map_err(|failure| match failure {
            Failure::Fault(fault) => format!("no delivery to {target}: {}", fault.text),
            Failure::TooLarge(why) | Failure::Unreadable(why) => why,
        })?;
        match verdict {
            Verdict::Taken { rejected: 0 } if !is_other => Ok(text),
            Verdict::Taken { rejected: 0 } => Err(text),
            Verdict::Taken { rejected } => {
                let rejected = rejected.min(request.records);
                Err(format!("{text}; {rejected} of {} records rejected", request.records))
            }
            _ => Err(text),
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    // The other threads look up names; one that hangs is not joined by a crowd.
    Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build()
}
