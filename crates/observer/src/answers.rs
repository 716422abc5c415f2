//! The stream of answers to one request.
//!
//! Nothing runs for a client but what it asks for: the next answer is made when the connection
//! takes it, so a client that reads nothing costs its place in the history and no more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::{Either, select};
use tokio::sync::watch;
use tonic::Status;
use webb_flow::clock::now_ns;

use crate::history::History;
use crate::segment::Segment;
use crate::walk::{Step, Walk};

/// Time between two notices of lost events, in nanoseconds.
const LOSS_INTERVAL_NS: u64 = 1_000_000_000;

/// Makes the answers of one type of request.
pub(crate) trait Respond: Send + Unpin + 'static {
    /// The answer.
    type Answer;

    /// The answer that carries an event.
    fn event(&mut self, segment: &Segment, place: usize) -> Self::Answer;

    /// The answer that reports that events of the time which was asked for are gone, up to this
    /// Unix time in nanoseconds; none if the type of answer cannot.
    fn gone(&mut self, gone_ns: u64) -> Option<Self::Answer>;

    /// The answer that reports events that were gone before they were read; none if the type of
    /// answer cannot.
    fn lost(&mut self, count: u64) -> Option<Self::Answer>;
}

/// Answers to one request, made as they are read.
pub(crate) struct Answers<R> {
    history: Arc<History>,
    walk: Walk,
    respond: R,
    notices: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// Set while the history has nothing new.
    waiting: Option<Pin<Box<dyn Future<Output = Woken> + Send>>>,
    lost: u64,
    loss_sent_ns: Option<u64>,
    ended: bool,
}

/// The reason that a wait ended.
enum Woken {
    Written,
    Stopping,
}

impl<R: Respond> Answers<R> {
    pub(crate) fn new(history: Arc<History>, walk: Walk, respond: R, stopping: watch::Receiver<bool>) -> Self {
        let notices = history.notices();
        let (waiting, lost, loss_sent_ns, ended) = (None, 0, None, false);
        Self { history, walk, respond, notices, stopping, waiting, lost, loss_sent_ns, ended }
    }

    /// The report of lost events, if there are any and it is due.
    fn loss(&mut self, is_last: bool) -> Option<R::Answer> {
        if self.lost == 0 {
            return None;
        }
        let now_ns = now_ns();
        let is_due = self.loss_sent_ns.is_none_or(|sent_ns| now_ns.saturating_sub(sent_ns) >= LOSS_INTERVAL_NS);
        if !is_due && !is_last {
            return None;
        }
        self.loss_sent_ns = Some(now_ns);
        self.respond.lost(std::mem::take(&mut self.lost))
    }

    /// Waits for an event after those so far, or, if there will be none, for the end.
    fn wait(&self, next: Option<u64>) -> Pin<Box<dyn Future<Output = Woken> + Send>> {
        let (mut notices, mut stopping) = (self.notices.clone(), self.stopping.clone());
        Box::pin(async move {
            let written = Box::pin(async move {
                match next {
                    Some(next) => notices.wait_for(|written| *written > next).await.is_ok(),
                    None => std::future::pending().await,
                }
            });
            let stopped = Box::pin(async move { stopping.wait_for(|stopping| *stopping).await.is_ok() });
            match select(written, stopped).await {
                Either::Left((true, _)) => Woken::Written,
                // A history, or a server, that is gone stops as well.
                _ => Woken::Stopping,
            }
        })
    }
}

impl<R: Respond> Stream for Answers<R> {
    type Item = Result<R::Answer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(this.loss(true).map(Ok));
            }
            if let Some(waiting) = &mut this.waiting {
                match waiting.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Woken::Written) => this.waiting = None,
                    Poll::Ready(Woken::Stopping) => {
                        (this.waiting, this.ended) = (None, true);
                        return Poll::Ready(Some(Err(Status::unavailable("the server stops"))));
                    }
                }
            }
            if let Some(loss) = this.loss(false) {
                return Poll::Ready(Some(Ok(loss)));
            }
            match this.walk.step(&this.history) {
                Step::Event(segment, place) => {
                    return Poll::Ready(Some(Ok(this.respond.event(&segment, place))));
                }
                Step::Gone(gone_ns) => {
                    if let Some(notice) = this.respond.gone(gone_ns) {
                        return Poll::Ready(Some(Ok(notice)));
                    }
                }
                Step::Lost(count) => {
                    this.lost = this.lost.saturating_add(count);
                    this.history.miss(count);
                }
                Step::Turn => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Wait => {
                    if let Some(loss) = this.loss(true) {
                        return Poll::Ready(Some(Ok(loss)));
                    }
                    this.waiting = Some(this.wait(Some(this.walk.next())));
                }
                Step::Never => this.waiting = Some(this.wait(None)),
                Step::End => this.ended = true,
            }
        }
    }
}
