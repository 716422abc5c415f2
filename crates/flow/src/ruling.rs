//! The rule and policy behind a policy verdict, small enough to travel in a flow.

/// The kind of rule and the policy that decided a verdict; empty for every other flow, and for
/// verdicts that another program wrote down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ruling(u32);

/// The policy's bits.
const POLICY: u32 = (1 << 27) - 1;
/// Set in every ruling; above it is the kind of match.
const GIVEN: u32 = 1 << 27;

impl Ruling {
    /// A match of Hubble's number `matched` (hubble-contract §1.9) by the policy in that row of the
    /// index's policies, or by none. A row that has no room, beyond 134 million, is none.
    pub fn new(matched: u8, policy: Option<u32>) -> Self {
        let policy = policy.and_then(|row| row.checked_add(1)).filter(|&row| row <= POLICY).unwrap_or(0);
        Self(u32::from(matched & 0xf) << 28 | GIVEN | policy)
    }

    /// False if nothing was decided here.
    #[inline]
    pub fn is_given(self) -> bool {
        self.0 & GIVEN != 0
    }

    /// `policy_match_type`.
    pub fn matched(self) -> u8 {
        let [.., high] = self.0.to_le_bytes();
        high >> 4
    }

    /// The first policy that decided: one that allows the connection, or one that isolates the pod
    /// and does not. None where no policy isolates it.
    pub fn policy(self) -> Option<u32> {
        (self.0 & POLICY).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoding and decoding are inverse, at the limits too.
    #[test]
    fn both_parts_come_out() {
        for matched in 0..=7 {
            for policy in [None, Some(0), Some(1), Some(POLICY - 1)] {
                let ruling = Ruling::new(matched, policy);
                assert_eq!((ruling.matched(), ruling.policy()), (matched, policy));
            }
        }
        assert_eq!(Ruling::new(2, Some(POLICY)).policy(), None);
        assert_eq!(Ruling::new(2, Some(u32::MAX)).policy(), None);
        assert!(Ruling::new(0, None).is_given() && !Ruling::default().is_given());
        assert_eq!((Ruling::default().matched(), Ruling::default().policy()), (0, None));
    }
}
