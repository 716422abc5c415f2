//! The body of an answer: parts that are written when the network asks for them.
//!
//! A scraper that reads slowly costs the part it is at and a share of the cut, whatever the size of the exposition, and
//! holds up nobody. Not even that share may be held for ever, so the cut is only lent: after [`LONGEST`] it is taken
//! back, and the connection ends where it is.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

use super::cut::Cut;
use super::gzip::{self, Sum};
use crate::expose::Exposition;

/// How long an answer may take; no scraper waits as long.
const LONGEST: Duration = Duration::from_mins(2);

/// A cut, as long as it is lent.
type Lent = Mutex<Option<Arc<Cut>>>;

/// Who has borrowed cuts, and since when.
#[derive(Debug, Default)]
pub(super) struct Loans(Mutex<Vec<(Instant, Weak<Lent>)>>);

impl Loans {
    /// Lends a cut, and takes back those that were lent for too long.
    pub(super) fn lend(&self, cut: Arc<Cut>) -> Loan {
        self.take_back(LONGEST);
        let loan = Loan(Arc::new(Mutex::new(Some(cut))));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), Arc::downgrade(&loan.0)));
        loan
    }

    fn take_back(&self, after: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(since, lent)| {
            let Some(lent) = lent.upgrade() else { return false };
            let over = since.elapsed() >= after;
            if over {
                *lent.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            !over
        });
    }
}

/// A borrowed cut.
#[derive(Debug)]
pub(super) struct Loan(Arc<Lent>);

impl Loan {
    fn cut(&self) -> Option<Arc<Cut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is told when an answer has been given or has come to its end early.
pub(super) type Done = Box<dyn FnOnce()>;

/// The body of a scrape's answer.
pub(super) struct Body {
    loan: Loan,
    exposition: Exposition,
    /// The next part; one behind the last is the end of the gzip stream.
    next: usize,
    gzip: Option<Sum>,
    done: Option<Done>,
}

impl Body {
    pub(super) fn new(loan: Loan, exposition: Exposition, gzip: bool, done: Done) -> Self {
        Self { loan, exposition, next: 0, gzip: gzip.then(Sum::default), done: Some(done) }
    }

    fn next_bytes(&mut self) -> io::Result<Option<Bytes>> {
        let at = self.next;
        self.next += 1;
        let Some(part) = self.exposition.parts().get(at) else {
            let end = self.gzip.take().map(|sum| sum.trailer().into());
            return Ok(end);
        };
        let cut = self.loan.cut().ok_or_else(|| io::Error::other("the scraper took too long"))?;
        // Here, in the loan and with the desk: whoever else there is reads along.
        let shared = Arc::strong_count(&cut) > 3;
        let piece = cut.piece(&self.exposition, part, self.gzip.is_some(), shared)?;
        let Some(sum) = &mut self.gzip else { return Ok(Some(piece.bytes.clone())) };
        sum.append(&piece.sum);
        if at > 0 {
            return Ok(Some(piece.bytes.clone()));
        }
        let mut first = gzip::HEADER.to_vec();
        first.extend_from_slice(&piece.bytes);
        Ok(Some(first.into()))
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.next_bytes().transpose())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(cut) = self.loan.cut()
            && Arc::strong_count(&cut) <= 3
        {
            cut.rest();
        }
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

/// The body of an answer to HEAD: none, and no length either, because nobody has counted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headless;

impl MessageBody for Headless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::None
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::Format;

    fn next(body: &mut Body) -> Option<io::Result<Bytes>> {
        body.next_bytes().transpose()
    }

    fn body(loans: &Loans, cut: &Arc<Cut>) -> Body {
        let exposition = Exposition::new(Format::OpenMetrics, &cut.snapshots(), [], |_| true);
        Body::new(loans.lend(Arc::clone(cut)), exposition, false, Box::new(|| {}))
    }

    /// Nobody may hold a cut for ever: what is taken back is free, and the answer breaks off instead of ending well.
    #[test]
    fn a_loan_comes_to_an_end() {
        let (loans, cut) = (Loans::default(), Arc::new(Cut::default()));
        let (mut slow, mut quick) = (body(&loans, &cut), body(&loans, &cut));
        assert_eq!(next(&mut quick).unwrap().unwrap(), "# EOF\n");
        assert!(next(&mut quick).is_none());
        loans.take_back(LONGEST);
        assert_eq!(Arc::strong_count(&cut), 3);
        loans.take_back(Duration::ZERO);
        assert_eq!(Arc::strong_count(&cut), 1);
        assert!(next(&mut slow).unwrap().is_err());
    }
}
