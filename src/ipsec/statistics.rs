//! Parses `/proc/net/xfrm_stat`: a name and a count in each line.

/// The kernel's names of errors, and Cilium's: type and error.
pub const ERRORS: [(&str, &str, &str); 28] = [
    ("XfrmInError", "inbound", "other"),
    ("XfrmInBufferError", "inbound", "no_buffer"),
    ("XfrmInHdrError", "inbound", "header"),
    ("XfrmInNoStates", "inbound", "no_state"),
    ("XfrmInStateProtoError", "inbound", "state_protocol"),
    ("XfrmInStateModeError", "inbound", "state_mode"),
    ("XfrmInStateSeqError", "inbound", "state_sequence"),
    ("XfrmInStateExpired", "inbound", "state_expired"),
    ("XfrmInStateMismatch", "inbound", "state_mismatched"),
    ("XfrmInStateInvalid", "inbound", "state_invalid"),
    ("XfrmInTmplMismatch", "inbound", "template_mismatched"),
    ("XfrmInNoPols", "inbound", "no_policy"),
    ("XfrmInPolBlock", "inbound", "policy_blocked"),
    ("XfrmInPolError", "inbound", "policy"),
    ("XfrmFwdHdrError", "inbound", "forward_header"),
    ("XfrmAcquireError", "inbound", "acquire"),
    ("XfrmOutError", "outbound", "other"),
    ("XfrmOutBundleGenError", "outbound", "bundle_generation"),
    ("XfrmOutBundleCheckError", "outbound", "bundle_check"),
    ("XfrmOutNoStates", "outbound", "no_state"),
    ("XfrmOutStateProtoError", "outbound", "state_protocol"),
    ("XfrmOutStateModeError", "outbound", "state_mode"),
    ("XfrmOutStateSeqError", "outbound", "state_sequence"),
    ("XfrmOutStateExpired", "outbound", "state_expired"),
    ("XfrmOutPolBlock", "outbound", "policy_blocked"),
    ("XfrmOutPolDead", "outbound", "policy_dead"),
    ("XfrmOutPolError", "outbound", "policy"),
    ("XfrmOutStateInvalid", "outbound", "state_invalid"),
];

/// One error's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCount {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The error, by Cilium's name.
    pub error: &'static str,
    /// Packets.
    pub count: u64,
}

/// The errors that the text has a count of, each once. Rows that Cilium has no name for, which
/// newer kernels have, and rows of another form are passed over.
pub fn parse(text: &str) -> Vec<ErrorCount> {
    let row = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (name, count) = (words.next()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some((name.to_owned(), count))
    };
    let rows: Vec<(String, u64)> = text.lines().filter_map(row).collect();
    let count_of = |name: &str| rows.iter().find(|(known, _)| known == name).map(|(_, count)| *count);
    let counted = ERRORS
        .iter()
        .filter_map(|(name, direction, error)| count_of(name).map(|count| ErrorCount { direction, error, count }));
    counted.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's own text, with a row of a later version and one that is no row.
    #[test]
    fn rows_are_named_as_in_cilium() {
        let text = "XfrmInError             \t0\nXfrmInNoStates          \t3\nXfrmOutStateDirError    \t7\n\
                    XfrmInTmplMismatch\tmany\nXfrmOutPolBlock         \t18446744073709551615\n\nXfrmInNoStates 9\n";
        let of = |direction, error, count| ErrorCount { direction, error, count };
        assert_eq!(
            parse(text),
            [of("inbound", "other", 0), of("inbound", "no_state", 3), of("outbound", "policy_blocked", u64::MAX)]
        );
    }

    /// Neither a kernel's name nor a series is there twice.
    #[test]
    fn names_are_unique() {
        let kernels = ERRORS.map(|(kernel, ..)| kernel.to_owned());
        let ours = ERRORS.map(|(_, direction, error)| format!("{direction} {error}"));
        for names in [kernels, ours] {
            assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), ERRORS.len());
        }
    }

    proptest! {
        /// Any text is parsed, and a row that is written is read.
        #[test]
        fn any_text_is_parsed(before in "\\PC*", number in 0..ERRORS.len(), count: u64, after in "\\PC*") {
            let (name, direction, error) = ERRORS[number];
            let found = parse(&format!("~{before}\n{name}\t{count}\n~{after}"));
            let expected = ErrorCount { direction, error, count };
            prop_assert!(found.contains(&expected));
        }
    }
}
