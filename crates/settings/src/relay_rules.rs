//! What the keys of a names relay mean for each other.

use super::model::Settings;

/// Rules about the keys of the relay together: the key, the other one, and what is wrong.
pub(super) fn contradictions(settings: &Settings) -> Vec<(&'static str, &'static str, String)> {
    let (names, tls) = (&settings.names, &settings.cluster_relay_tls);
    let mut found = Vec::new();
    let files = [&names.tls.certificate, &names.tls.key, &names.tls.client_ca];
    let set = files.iter().filter(|file| file.is_some()).count();
    if set != 0 && set != files.len() {
        let message = "`names_tls`: certificate, key and client_ca belong together: agents without a certificate are not \
                       served";
        found.push(("names_tls.certificate", "names_tls.client_ca", message.to_owned()));
    }
    if set == 0 && !names.listen.ip().is_loopback() {
        let message = format!("`names.listen`: {} is not of this machine alone and needs `names_tls`", names.listen);
        found.push(("names.listen", "names_tls.certificate", message));
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let (set, missing) = if tls.key.is_none() {
            ("cluster_relay_tls.certificate", "cluster_relay_tls.key")
        } else {
            ("cluster_relay_tls.key", "cluster_relay_tls.certificate")
        };
        found.push((set, missing, format!("`{set}` needs `{missing}` beside it")));
    }
    let Some(relay) = &settings.cluster_relay else { return found };
    if relay.tls && tls.ca.is_none() {
        let message = format!("`cluster_relay`: {relay} needs `cluster_relay_tls.ca` beside it");
        found.push(("cluster_relay", "cluster_relay_tls.ca", message));
    }
    if !relay.tls && !relay.is_of_this_machine() {
        let message = format!("`cluster_relay`: {relay} is not of this machine, and needs https");
        found.push(("cluster_relay", "cluster_relay", message));
    }
    if !relay.tls && tls.ca.is_some() {
        let message = "`cluster_relay_tls.ca` is of use with https in `cluster_relay` only; a connection without TLS would \
                       not be what it seems";
        found.push(("cluster_relay_tls.ca", "cluster_relay", message.to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::RelayAddress;
    use crate::tls::Tls;

    /// Beyond this machine there is no relay without certificates on both sides.
    #[test]
    fn names_do_not_leave_the_machine_in_the_clear() {
        let file = || Some("/a".into());
        let wrong = |settings: &Settings| contradictions(settings).into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
        let mut settings = Settings::default();
        assert!(wrong(&settings).is_empty());
        settings.names.listen = ([0, 0, 0, 0], 4246).into();
        assert_eq!(wrong(&settings), ["names.listen"]);
        settings.names.tls = Tls { certificate: file(), key: file(), client_ca: None };
        assert_eq!(wrong(&settings), ["names_tls.certificate"]);
        settings.names.tls.client_ca = file();
        assert!(wrong(&settings).is_empty());
        for (text, expected) in [
            ("http://[::1]:4246", &[][..]),
            ("http://localhost:4246", &[]),
            ("http://webb-names:4246", &["cluster_relay"]),
            ("https://webb-names:4246", &["cluster_relay"]),
        ] {
            settings.cluster_relay = RelayAddress::parse(text);
            assert_eq!(wrong(&settings), expected, "{text}");
        }
        settings.cluster_relay_tls.ca = file();
        assert!(wrong(&settings).is_empty());
        settings.cluster_relay_tls.key = file();
        assert_eq!(wrong(&settings), ["cluster_relay_tls.key"]);
    }
}
