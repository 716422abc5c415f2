//! The credentials of a client: they are brought into a form in which kube neither runs a program
//! nor reads a file again.
//!
//! kube's own ways are not taken for three of them. It runs a credential plugin without a bound in
//! time, and twice for each client. It takes the newline at the end of a token file for a part of
//! the token, and reads the file once a minute; here it is read for each request, which are few, so
//! a rotated token is never missed. It puts the certificate right behind the key, which must end
//! its line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use k8s_openapi::jiff::Timestamp;
use kube::Config;
use kube::config::AuthInfo;
use secrecy::ExposeSecret;
use webb_settings::file::refused;

use super::plugin::{self, Credentials, RunBounds};

/// Credentials are renewed so long before they expire. There is a request once a minute, by
/// discovery.
const AHEAD: Duration = Duration::from_mins(2);

/// Credentials that are valid for less than this long are not renewed sooner.
const SHORTEST: Duration = Duration::from_secs(1);

/// Time at which the client must be built anew, apart from the server's refusals.
#[derive(Clone)]
pub(super) enum Renewal {
    Never,
    /// Shortly before a plugin's credentials expire.
    At(Instant),
    /// Once this file has another token.
    File {
        path: PathBuf,
        token: String,
    },
}

impl Renewal {
    /// True if the next client would have other credentials, as far as is known.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Never => false,
            Self::At(time) => Instant::now() >= *time,
            // A missing file changes nothing: the token may still be good.
            Self::File { path, token } => read_token(path).is_ok_and(|now| now != *token),
        }
    }
}

/// Reads the credentials, or has them made, and puts them into `config`. Blocks for as long as a
/// plugin takes.
pub(super) fn login(config: &mut Config, limits: &RunBounds) -> Result<Renewal, String> {
    let user = &mut config.auth_info;
    if user.auth_provider.is_some() {
        return Err("it has an auth-provider, which Kubernetes replaced by exec plugins; use a token, a client \
                    certificate or an exec plugin"
            .to_owned());
    }
    end_key(user);
    let (file, exec) = (user.token_file.take(), user.exec.take());
    let token = user.token.take().filter(|token| !token.expose_secret().trim().is_empty());
    match (token, file, exec) {
        // As for kubectl: a file is newer than a token that stands beside it.
        (token, Some(path), _) => {
            let path = PathBuf::from(path);
            let token = match (read_token(&path), token) {
                (Ok(token), _) => token,
                (Err(_), Some(token)) => token.expose_secret().trim().to_owned(),
                (Err(why), None) => return Err(why),
            };
            set_token(user, &token)?;
            Ok(Renewal::File { path, token })
        }
        (Some(token), None, _) => {
            set_token(user, token.expose_secret().trim())?;
            Ok(Renewal::Never)
        }
        (None, None, Some(exec)) => {
            let credentials = plugin::run(&exec, limits)?;
            let plugin = exec.command.as_deref().unwrap_or_default();
            take(user, credentials).map_err(|why| format!("the credential plugin {plugin} {why}"))
        }
        (None, None, None) => Ok(Renewal::Never),
    }
}

/// Ends the last line of the client's key, wherever that is. A key that cannot be read stays for
/// kube, which says why.
fn end_key(user: &mut AuthInfo) {
    let data = user.client_key_data.as_ref().map(ExposeSecret::expose_secret).filter(|data| !data.is_empty());
    let key = match (data, &user.client_key) {
        (Some(data), _) => BASE64_STANDARD.decode(data).ok(),
        (None, Some(path)) => std::fs::read(path).ok(),
        (None, None) => None,
    };
    if let Some(mut key) = key.filter(|key| !key.ends_with(b"\n")) {
        key.push(b'\n');
        user.client_key_data = Some(BASE64_STANDARD.encode(key).into());
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let token = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the token file {}: {}", path.display(), refused(path, error)))?;
    match token.trim() {
        "" => Err(format!("the token file {} is empty", path.display())),
        token => Ok(token.to_owned()),
    }
}

/// kube panics at a token that makes no header.
fn set_token(user: &mut AuthInfo, token: &str) -> Result<(), String> {
    HeaderValue::try_from(token).map_err(|_| "the token has characters that an HTTP header must not have")?;
    user.token = Some(token.into());
    Ok(())
}

/// Puts what a plugin gave in the place of what the kubeconfig has.
fn take(user: &mut AuthInfo, credentials: Credentials) -> Result<Renewal, String> {
    let Credentials { token, identity, expires } = credentials;
    if token.is_none() && identity.is_none() {
        return Err("gave neither a token nor a certificate with its key".to_owned());
    }
    if let Some((certificate, key)) = identity {
        user.client_certificate_data = Some(BASE64_STANDARD.encode(certificate));
        user.client_key_data = Some(BASE64_STANDARD.encode(key).into());
        end_key(user);
    }
    if let Some(token) = token {
        set_token(user, token.trim()).map_err(|why| format!("gave a token that cannot be used: {why}"))?;
    }
    let Some(expires) = expires else { return Ok(Renewal::Never) };
    let expires: Timestamp =
        expires.parse().map_err(|error| format!("gave an expirationTimestamp that is no time: {error}"))?;
    let left = Duration::try_from(expires.duration_since(Timestamp::now())).unwrap_or_default();
    if left.is_zero() {
        // The plugin, or a clock, is wrong. Asking again and again makes neither right: the server
        // decides.
        tracing::warn!("the credential plugin gave credentials that expired at {expires}, by this node's clock");
        return Ok(Renewal::Never);
    }
    Ok(Renewal::At(Instant::now() + left.saturating_sub(AHEAD.min(left / 2)).max(SHORTEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(expires: Option<String>) -> Credentials {
        Credentials { token: Some("t\n".to_owned()), identity: None, expires }
    }

    fn due_in(left: Duration) -> Duration {
        let expires = (Timestamp::now() + left).to_string();
        match take(&mut AuthInfo::default(), credentials(Some(expires))) {
            Ok(Renewal::At(time)) => time.saturating_duration_since(Instant::now()),
            other => panic!("{left:?}: {:?}", other.err()),
        }
    }

    /// Credentials are renewed two minutes before they expire, or in the middle of a shorter
    /// lifetime. Those that have expired already serve until the server refuses them.
    #[test]
    fn plugins_run_again_before_the_end() {
        let hour = due_in(Duration::from_hours(1));
        assert!(hour > Duration::from_mins(57) && hour <= Duration::from_mins(58), "{hour:?}");
        let minute = due_in(Duration::from_mins(1));
        assert!(minute > Duration::from_secs(20) && minute <= Duration::from_secs(30), "{minute:?}");
        let mut user = AuthInfo::default();
        for expires in [None, Some("2000-01-01T00:00:00Z".to_owned())] {
            assert!(matches!(take(&mut user, credentials(expires)), Ok(Renewal::Never)));
        }
        assert_eq!(user.token.unwrap().expose_secret(), "t");
        let error = take(&mut AuthInfo::default(), credentials(Some("soon".to_owned()))).err().unwrap();
        assert!(error.contains("expirationTimestamp that is no time"), "{error}");
        let nothing = Credentials { token: None, identity: None, expires: None };
        assert!(take(&mut AuthInfo::default(), nothing).is_err());
    }

    /// A token file comes before a token, which serves where the file cannot be read.
    #[test]
    fn files_come_before_tokens() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "new\n").unwrap();
        let asked = |path: &Path| {
            let mut config = Config::new("https://localhost".parse().unwrap());
            config.auth_info.token = Some("old".into());
            config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
            let (stopped, _leash) = std::io::pipe().unwrap();
            login(&mut config, &RunBounds { timeout: Duration::from_secs(9), stopped }).map(|_| config.auth_info.token)
        };
        let token = |path| asked(path).map(|token| token.unwrap().expose_secret().to_owned());
        assert_eq!(token(file.path()), Ok("new".to_owned()));
        assert_eq!(token(Path::new("/nonexistent")), Ok("old".to_owned()));
    }

    /// A token file is compared without the white space around its token; one that is gone changes
    /// nothing.
    #[test]
    fn token_files_are_compared() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        assert!(read_token(&path).unwrap_err().contains("is empty"));
        std::fs::write(&path, "one\n").unwrap();
        let renewal = Renewal::File { token: read_token(&path).unwrap(), path: path.clone() };
        std::fs::write(&path, " one\n\n").unwrap();
        assert!(!renewal.is_due());
        std::fs::write(&path, "two\n").unwrap();
        assert!(renewal.is_due());
        drop(file);
        assert!(!renewal.is_due());
        assert!(set_token(&mut AuthInfo::default(), "o\nne").is_err(), "kube would panic");
    }
}
