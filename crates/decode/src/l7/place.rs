//! Locates a record of an HTTP/1 connection within its stream.
//!
//! Bodies are not captured, so a stream is known by its heads and by the lengths that they give.
//! Sequence numbers are compared modulo 2^32.

/// Bytes that may stand between messages: an empty line behind a body, several times.
const SLACK: i32 = 11;

/// Distance from `b` forward to `a`.
#[inline]
pub(super) fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// Position of the next head of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Next {
    /// Unknown: nothing was seen yet.
    #[default]
    Start,
    /// At this sequence number.
    At(u32),
    /// Not before this sequence number.
    After(u32),
    /// Never again: a body goes on until the end.
    Never,
}

/// The beginning of a head that waits for its rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) buffer: u32,
    /// Sequence number of its first byte.
    pub(super) begin: u32,
    /// Sequence number behind its last one.
    pub(super) end: u32,
    /// What its first record acknowledges.
    pub(super) acknowledgement: u32,
    pub(super) time_ns: u64,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Half {
    pub(super) next: Next,
    /// A request's body of unknown length may go on.
    pub(super) open: bool,
    /// A range that was not seen when what follows it was.
    pub(super) hole: Option<(u32, u32)>,
    pub(super) partial: Option<Partial>,
}

/// Effect of an acknowledgement on the direction that it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledged {
    Nothing,
    /// A head was received that was not seen.
    Unseen,
}

/// Position of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Heads may follow, behind so many bytes that are known.
    Here(usize),
    /// As `Here`, with unseen bytes before it.
    BehindGap,
    /// Within the hole.
    Overtaken,
    /// Before the known part.
    Past,
    /// Within a body.
    Body,
}

impl Half {
    /// Takes an acknowledgement of this direction.
    #[inline]
    pub(super) fn acknowledged(&mut self, up_to: u32) -> Acknowledged {
        match self.next {
            Next::After(n) if ahead(up_to, n) > 0 => self.next = Next::After(up_to),
            Next::At(n) if ahead(up_to, n) > SLACK => {
                self.next = Next::After(up_to);
                return Acknowledged::Unseen;
            }
            Next::At(n) if ahead(up_to, n) > 0 => self.next = Next::At(up_to),
            _ => {}
        }
        Acknowledged::Nothing
    }

    /// Places the bytes from `sequence` to `end`, which begin the sender's stream if that begins at
    /// `begin`. `waits` is true if a request has no response, or it is not known.
    #[inline]
    pub(super) fn place(&mut self, begin: u32, sequence: u32, end: u32, from_client: bool, waits: bool) -> Place {
        if self.next == Next::Start {
            if ahead(sequence, begin) <= 0 {
                return Place::Here(0);
            }
            if !from_client {
                return Place::BehindGap;
            }
            self.hole = Some((begin, sequence));
            return Place::Here(0);
        }
        if self.next == Next::Never {
            return Place::Body;
        }
        if let Some((from, to)) = self.hole
            && ahead(sequence, from) >= 0
            && ahead(to, end) >= 0
        {
            return Place::Overtaken;
        }
        let (Next::At(n) | Next::After(n)) = self.next else { return Place::Body };
        if ahead(n, end) >= 0 {
            return Place::Past;
        }
        if ahead(n, sequence) > 0 {
            return Place::Here(n.wrapping_sub(sequence) as usize);
        }
        if matches!(self.next, Next::At(_)) && ahead(sequence, n) > 0 {
            if from_client {
                self.hole = Some((n, sequence));
            }
            return Place::BehindGap;
        }
        if matches!(self.next, Next::After(_)) && from_client && self.open && waits {
            return Place::Body;
        }
        Place::Here(0)
    }

    /// Takes a range out of the hole. Of what is left on both sides the earlier is kept.
    pub(super) fn fill(&mut self, sequence: u32, end: u32) {
        let Some((from, to)) = self.hole else { return };
        self.hole = if ahead(sequence, from) > 0 {
            Some((from, sequence))
        } else if ahead(to, end) > 0 {
            Some((end, to))
        } else {
            None
        };
    }

    /// True if the record repeats a part of a connection that has ended.
    pub(super) fn repeats(&self, sequence: u32) -> bool {
        /// Bytes that a sender may have on the way.
        const WINDOW: i32 = 1 << 20;
        match self.next {
            Next::At(n) | Next::After(n) => (1..WINDOW).contains(&ahead(n, sequence)),
            Next::Start | Next::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next: Next) -> Half {
        Half { next, ..Half::default() }
    }

    /// Section 5.3's rules (2) to (8), at a wrapping sequence number too.
    #[test]
    fn places() {
        for n in [1000_u32, 3, u32::MAX - 3] {
            let place = |half: &mut Half, from: i32, to: i32, waits| {
                let (from, to) = (n.wrapping_add_signed(from), n.wrapping_add_signed(to));
                half.place(n, from, to, true, waits)
            };
            assert_eq!(place(&mut at(Next::Start), 5, 9, false), Place::Here(0));
            let first = |to: u32| at(Next::Start).place(n, to, to.wrapping_add(9), false, true);
            assert_eq!((first(n), first(n.wrapping_add(5))), (Place::Here(0), Place::BehindGap));
            assert_eq!(place(&mut at(Next::Never), 5, 9, false), Place::Body);
            for next in [Next::At(n), Next::After(n)] {
                assert_eq!(place(&mut at(next), -5, 0, false), Place::Past);
                assert_eq!(place(&mut at(next), -5, 1, false), Place::Here(5));
                assert_eq!(place(&mut at(next), 0, 9, false), Place::Here(0));
            }
            let mut half = at(Next::At(n));
            assert_eq!(place(&mut half, 5, 9, false), Place::BehindGap);
            half.next = Next::At(n.wrapping_add(9));
            assert_eq!(place(&mut half, 2, 5, false), Place::Overtaken);
            half.fill(n.wrapping_add(2), n.wrapping_add(5));
            assert_eq!(half.hole, Some((n, n.wrapping_add(2))));
            half.fill(n, n.wrapping_add(2));
            assert_eq!(half.hole, None);
            let mut half = Half { open: true, ..at(Next::After(n)) };
            assert_eq!(place(&mut half, 5, 9, true), Place::Body);
            assert_eq!(place(&mut half, 5, 9, false), Place::Here(0));
        }
    }

    /// Rule (0): an empty line is no unseen head.
    #[test]
    fn acknowledgements() {
        for (next, up_to, wanted, result) in [
            (Next::At(100), 100, Next::At(100), Acknowledged::Nothing),
            (Next::At(100), 99, Next::At(100), Acknowledged::Nothing),
            (Next::At(100), 111, Next::At(111), Acknowledged::Nothing),
            (Next::At(100), 112, Next::After(112), Acknowledged::Unseen),
            (Next::After(100), 500, Next::After(500), Acknowledged::Nothing),
            (Next::After(100), 50, Next::After(100), Acknowledged::Nothing),
            (Next::Start, 500, Next::Start, Acknowledged::Nothing),
        ] {
            let mut half = at(next);
            assert_eq!((half.acknowledged(up_to), half.next), (result, wanted), "{next:?} {up_to}");
        }
    }
}
