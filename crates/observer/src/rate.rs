//! The flows per second that a status reports.

use tokio::task::yield_now;

use crate::history::History;
use crate::segment::Event;

const MINUTE_NS: u64 = 60_000_000_000;
/// Segments between two turns of others.
const SEGMENTS_A_TURN: usize = 16;

const SECOND_NS: u64 = 1_000_000_000;

/// Flows per second of the minute before `now_ns`, Unix time in nanoseconds. Of a history that is
/// shorter, per second of the time since its oldest flow, one second at least.
pub(crate) async fn of_the_last_minute(history: &History, now_ns: u64) -> f64 {
    let all = history.all();
    let since_ns = now_ns.saturating_sub(MINUTE_NS);
    let (mut flows, mut oldest_ns) = (0_u32, now_ns);
    let mut span_ns = None;
    'history: for (at, (first, segment)) in all.segments.iter().rev().enumerate() {
        if at % SEGMENTS_A_TURN == SEGMENTS_A_TURN - 1 {
            // Others get their turn.
            yield_now().await;
        }
        for (at, event) in segment.events.iter().enumerate().rev() {
            let Event::Flow(flow) = event else { continue };
            if first + (at as u64) < all.oldest {
                break 'history;
            }
            let time_ns = segment.flow_time_ns(flow);
            if time_ns < since_ns {
                span_ns = Some(MINUTE_NS);
                break 'history;
            }
            flows += 1;
            oldest_ns = time_ns;
        }
    }
    let span_ns = span_ns.unwrap_or(now_ns.saturating_sub(oldest_ns)).max(SECOND_NS);
    #[allow(clippy::cast_precision_loss, reason = "a minute in nanoseconds has 36 bits")]
    let seconds = span_ns as f64 / SECOND_NS as f64;
    f64::from(flows) / seconds
}

#[cfg(test)]
mod tests {
    use webb_flow::Flow;

    use super::*;
    use crate::segment::Segment;

    /// Old flows do not count, and few flows of the same instant make no huge rate.
    #[tokio::test]
    #[allow(clippy::float_cmp, reason = "the divisions are exact")]
    async fn rates() {
        let history = |times_s: &[u64]| {
            let history = History::new(100);
            let flow = |time_s: &u64| Event::Flow(Flow { time_ns: time_s * SECOND_NS, ..Flow::default() });
            history.push(Segment { events: times_s.iter().map(flow).collect(), ..Segment::default() }, 0);
            history
        };
        let rate = async |times_s: &[u64]| of_the_last_minute(&history(times_s), 1000 * SECOND_NS).await;
        assert_eq!(rate(&[]).await, 0.0);
        assert_eq!(rate(&[1000, 1000]).await, 2.0);
        assert_eq!(rate(&[980, 990]).await, 0.1);
        assert_eq!(rate(&[100, 200, 941, 970, 999]).await, 0.05);
    }
}
