//! Errors of decoding a record.

/// The check that a record failed; the label values of the counter of refused records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum DecodeError {
    /// Fewer bytes than a record has.
    #[error("the record is shorter than a record of this version")]
    Short = 0,
    /// Written by a program of another version.
    #[error("the record is of another version")]
    Version = 1,
    /// The length field is wrong, or does not match the bytes.
    #[error("the record's length field is wrong")]
    Length = 2,
    /// No `enum webb_kind`.
    #[error("the record's kind is unknown")]
    Kind = 3,
    /// No `enum webb_hook`, or not one that sees such a kind.
    #[error("the record's hook is unknown or does not go with its kind")]
    Hook = 4,
    /// Neither 4 nor 6 nor 0.
    #[error("the record's address family is unknown")]
    Family = 5,
    /// No `enum webb_event`.
    #[error("the record's event is unknown")]
    Event = 6,
}

impl DecodeError {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Short, Self::Version, Self::Length, Self::Kind, Self::Hook, Self::Family, Self::Event];

    /// Value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Version => "version",
            Self::Length => "length",
            Self::Kind => "kind",
            Self::Hook => "hook",
            Self::Family => "family",
            Self::Event => "event",
        }
    }
}
