//! The loop that sends requests, on a runtime of one thread.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use webb_flow::fault::inject;

use crate::answer::{Answer, Verdict};
use crate::encoding::Encoding;
use crate::figures::Loss;
use crate::io::Failure;
use crate::output::{Output, Owner, SHUTDOWN_BUDGET};
use crate::pace::Pace;
use crate::request::Request;
use crate::sender::Sender;
use crate::state_log::StateLog;
use crate::store::Store;

/// Interval of heartbeats while nothing happens.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Interval in which files of TLS and headers are read.
const FILES_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of log lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Attempts of a request whose answers are doubtful.
const MAX_DOUBTFUL: u8 = 3;

/// Plain bytes below which a request is not made smaller.
const MIN_REQUEST_BYTES: usize = 1 << 10;

/// A request that has come back.
struct Exchange {
    id: u64,
    request: Request,
    epoch: u64,
    took: Duration,
    outcome: Result<Answer, Failure>,
}

async fn perform(sender: &Sender<'_>, id: u64, request: Request, epoch: u64) -> Exchange {
    let started = Instant::now();
    let outcome = sender.send(&request).await;
    Exchange { id, request, epoch, took: started.elapsed(), outcome }
}

/// Sends until the owner is stopping, and then for a while.
pub(crate) async fn run(output: &Output, owner: &dyn Owner) {
    let sender = Sender::new(&output.resolved, &output.environment);
    let mut delivery = Delivery::new(output, owner, &sender);
    let mut exchanges = FuturesUnordered::new();
    let mut stop_at = None;
    let point = format!("otlp/{}", output.config.name);
    loop {
        owner.beat();
        inject::point(&point);
        let now = Instant::now();
        if stop_at.is_none() && owner.stopping() {
            stop_at = Some(now + SHUTDOWN_BUDGET);
        }
        delivery.maintain(now);
        while delivery.pace.may_depart(now, exchanges.len(), output.config.in_flight) {
            let Some((id, request)) = delivery.store.next(now) else { break };
            delivery.pace.departed();
            exchanges.push(perform(&sender, id, request, delivery.pace.epoch()));
        }
        delivery.show(now);
        let next_at = delivery.pace.wake_at(now);
        if let Some(stop_at) = stop_at {
            let waits = next_at.is_some_and(|at| at < stop_at) && !output.state().queue.is_empty();
            if now >= stop_at || exchanges.is_empty() && !waits {
                break;
            }
        }
        let wake_at = [next_at, stop_at].into_iter().flatten().fold(now + BEAT_INTERVAL, Instant::min);
        tokio::select! {
            biased;
            Some(exchange) = exchanges.next() => delivery.settle(&exchange),
            () = output.changed.notified() => {}
            () = sleep_until(wake_at) => {}
        }
    }
    delivery.store.save_all();
    delivery.maintain(Instant::now());
}

/// One run of the loop.
struct Delivery<'a> {
    output: &'a Output,
    owner: &'a dyn Owner,
    sender: &'a Sender<'a>,
    store: Store<'a>,
    pace: Pace,
    files_at: Instant,
    /// What is wrong with files of TLS and headers.
    of_files: String,
    /// Why requests fail.
    of_requests: String,
    /// Log lines about all that.
    log: StateLog,
    /// Times of the last log lines, by [`Line`].
    logged: [Option<Instant>; 4],
    /// A record alone was too large, and the receiver has taken nothing since.
    takes_no_record: bool,
}

/// Kinds of log lines, which are limited each.
#[derive(Clone, Copy)]
enum Line {
    Refusal,
    Warning,
    Encoding,
    Limit,
}

impl<'a> Delivery<'a> {
    fn new(output: &'a Output, owner: &'a dyn Owner, sender: &'a Sender<'a>) -> Self {
        Self {
            output,
            owner,
            sender,
            store: Store::new(output),
            pace: Pace::new(output.config.retry),
            files_at: Instant::now() + FILES_INTERVAL,
            of_files: String::new(),
            of_requests: String::new(),
            log: StateLog::default(),
            logged: [None; 4],
            takes_no_record: false,
        }
    }

    fn maintain(&mut self, now: Instant) {
        self.store.maintain(now);
        self.output.state().expire_limit(now, self.output.config.batch.max_bytes);
        if now >= self.files_at {
            self.files_at = now + FILES_INTERVAL;
            self.of_files = self.sender.poll_files().join("; ");
        }
    }

    /// Tells the owner what has changed.
    fn show(&mut self, now: Instant) {
        // Requests fail because of files.
        let of_files = if self.of_requests.contains(&self.of_files) { "" } else { &self.of_files };
        let problems = [self.store.problem(), of_files, &self.of_requests];
        let problem = problems.into_iter().filter(|problem| !problem.is_empty()).collect::<Vec<_>>().join("; ");
        if self.output.figures.set_problem(&problem) {
            self.owner.problem(&problem);
        }
        let name = &self.output.config.name;
        match self.log.due(&problem, self.store.problem(), now) {
            None => {}
            Some(line) if line.problem.is_empty() => tracing::info!(output = name, "{line}"),
            Some(line) => tracing::warn!(output = name, "{line}"),
        }
    }

    fn may_log(&mut self, line: Line, now: Instant) -> bool {
        let Some(last) = self.logged.get_mut(line as usize) else { return false };
        let may = last.is_none_or(|last| now - last >= LOG_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    fn settle(&mut self, exchange: &Exchange) {
        let now = Instant::now();
        let figures = &self.output.figures;
        match &exchange.outcome {
            Ok(answer) => {
                figures.request(&answer.code, matches!(answer.verdict, Verdict::Taken { .. }), exchange.took);
                self.judge(exchange, answer, now);
            }
            // It was not sent.
            Err(Failure::TooLarge(why)) => {
                self.too_large(exchange, why, now);
            }
            Err(Failure::Unreadable(why)) => {
                self.store.drop(exchange.id, Loss::Corrupted);
                let name = &self.output.config.name;
                tracing::warn!(output = name, "{} records are lost: {why}", exchange.request.records);
            }
            Err(Failure::Fault(fault)) => {
                figures.request(fault.code, false, exchange.took);
                self.of_requests = format!("no delivery to {}: {}", self.output.resolved.receiver, fault.text);
                self.store.release(exchange.id);
                self.pace.failed(exchange.epoch, None, now);
            }
        }
    }

    fn judge(&mut self, exchange: &Exchange, answer: &Answer, now: Instant) {
        let is_zstd = exchange.request.encoding == Encoding::Zstd;
        let verdict = match answer.verdict {
            // Some receivers have no other word for an encoding that they do not know.
            Verdict::Refused if answer.code == "400" && is_zstd && !self.output.state().takes_zstd => {
                &Verdict::Encoding
            }
            ref verdict => verdict,
        };
        match *verdict {
            Verdict::Taken { rejected } => {
                {
                    let mut state = self.output.state();
                    state.takes_zstd |= is_zstd;
                    state.forget_refusals(self.output.resolved.encoding);
                }
                self.takes_no_record = false;
                self.taken(exchange, rejected, &answer.text, now);
                self.works(now);
            }
            Verdict::Retry { after, few } => {
                self.of_requests = self.refusal(answer);
                self.pace.failed(exchange.epoch, after, now);
                if few && self.store.doubt(exchange.id, MAX_DOUBTFUL) {
                    self.refuse(exchange, answer, now);
                } else {
                    self.store.release(exchange.id);
                }
            }
            Verdict::TooLarge => {
                let refusal = self.refusal(answer);
                if self.too_large(exchange, &refusal, now) {
                    return;
                }
                // Between others it is only that record. A receiver that takes none is waited for.
                if std::mem::replace(&mut self.takes_no_record, true) {
                    self.pace.failed(exchange.epoch, None, now);
                    self.of_requests = refusal;
                } else {
                    self.pace.answered(now);
                }
            }
            Verdict::Encoding if self.output.state().refuse(exchange.request.encoding) => {
                if self.may_log(Line::Encoding, now) {
                    tracing::warn!(
                        output = self.output.config.name,
                        "{}; requests are sent as {} from now on",
                        self.refusal(answer),
                        self.output.limits().0.label()
                    );
                }
                // Google's server refuses any other on a connection that had an unknown one.
                self.sender.forget_connections();
                self.store.release(exchange.id);
            }
            // Others were under way when the first one was refused.
            Verdict::Encoding if self.output.state().is_refused(exchange.request.encoding) => {
                self.store.release(exchange.id);
            }
            // A login may come with the next change of its Secret, which takes a minute to arrive.
            Verdict::Login if self.sender.has_login_files() => {
                self.of_requests = self.refusal(answer);
                if !self.sender.poll_login() {
                    self.pace.failed(exchange.epoch, None, now);
                }
                self.store.release(exchange.id);
            }
            Verdict::Encoding | Verdict::Login | Verdict::Refused => {
                if *verdict == Verdict::Encoding && exchange.request.encoding == Encoding::None {
                    self.output.state().refuse_all();
                }
                self.of_requests = self.refusal(answer);
                self.refuse(exchange, answer, now);
                self.pace.answered(now);
            }
        }
    }

    /// The receiver takes requests.
    fn works(&mut self, now: Instant) {
        self.pace.answered(now);
        self.of_requests.clear();
    }

    fn refusal(&self, answer: &Answer) -> String {
        // A receiver may repeat what it was sent.
        format!("{} answers {}", self.output.resolved.receiver, self.sender.mask(&answer.to_string()))
    }

    fn taken(&mut self, exchange: &Exchange, rejected: u32, text: &str, now: Instant) {
        if let Some(entry) = self.store.remove(exchange.id) {
            let size = exchange.request.body.len();
            self.output.figures.delivered(entry.stream, entry.records, rejected, size);
        }
        if (rejected > 0 || !text.is_empty()) && self.may_log(Line::Warning, now) {
            let (target, sent) = (&self.output.resolved.receiver, exchange.request.records);
            let (name, says) = (&self.output.config.name, self.sender.mask(text));
            match rejected.min(sent) {
                0 => tracing::warn!(output = name, "{target} has taken {sent} records, and says: {says}"),
                rejected => {
                    let says = if says.is_empty() { "it does not say why" } else { &says };
                    tracing::warn!(output = name, "{target} has rejected {rejected} of {sent} records: {says}");
                }
            }
        }
    }

    fn refuse(&mut self, exchange: &Exchange, answer: &Answer, now: Instant) {
        self.store.drop(exchange.id, Loss::Refused);
        if self.may_log(Line::Refusal, now) {
            tracing::warn!(
                output = self.output.config.name,
                "{} records are lost: {}",
                exchange.request.records,
                self.refusal(answer)
            );
        }
    }

    /// Halves a request that is too large; false if it is a single record, which is dropped.
    fn too_large(&mut self, exchange: &Exchange, why: &str, now: Instant) -> bool {
        let halves = exchange.request.halves();
        if let Ok(Some(halves)) = halves {
            let learned = (exchange.request.plain_bytes / 2).max(MIN_REQUEST_BYTES);
            self.output.state().limit(learned);
            if self.may_log(Line::Limit, now) {
                tracing::info!(
                    output = self.output.config.name,
                    "{why}; requests have at most {learned} bytes from now on, or fewer if that is too much"
                );
            }
            self.store.replace(exchange.id, halves.into());
            return true;
        }
        self.output.state().doubt_limit(self.output.config.retry.max, now);
        self.store.drop(exchange.id, Loss::TooLarge);
        if self.may_log(Line::Refusal, now) {
            tracing::warn!(
                output = self.output.config.name,
                "a record of {} ({} bytes) is lost: {why}",
                exchange.request.event_name(),
                exchange.request.plain_bytes
            );
        }
        false
    }
}
