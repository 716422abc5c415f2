//! Proofs of a login: PLAIN (RFC 4616), and SCRAM (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::config::Mechanism;

/// Iterations that a broker may ask for, as RFC 7677 has the least; Kafka's own most are 16384. A
/// proof with few would let a false broker try passwords cheaply.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1 << 17;

/// The name and the password of a login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The only message of PLAIN.
pub(super) fn plain(credentials: &Credentials) -> Vec<u8> {
    format!("\0{}\0{}", credentials.username, credentials.password).into_bytes()
}

/// The algorithms of a mechanism.
#[derive(Clone, Copy)]
struct Hash {
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

/// A conversation of SCRAM.
pub(super) struct Scram<'a> {
    credentials: &'a Credentials,
    hash: Hash,
    nonce: String,
}

/// The last message of the client, and the proof that the server owes for it.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) message: String,
    expected: String,
}

impl<'a> Scram<'a> {
    /// A conversation that has not begun; none if the mechanism is another one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn new(mechanism: Mechanism, credentials: &'a Credentials) -> Result<Option<Self>, String> {
        let hash = match mechanism {
            Mechanism::Plain => return Ok(None),
            Mechanism::ScramSha256 => {
                Hash { hmac: hmac::HMAC_SHA256, digest: &digest::SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 }
            }
            Mechanism::ScramSha512 => {
                Hash { hmac: hmac::HMAC_SHA512, digest: &digest::SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 }
            }
        };
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).map_err(|_| "there are no random numbers for a login".to_owned())?;
        Ok(Some(Self { credentials, hash, nonce: STANDARD.encode(random) }))
    }

    /// The first message, without what stands for no binding to a channel.
    fn bare(&self) -> String {
        let name = self.credentials.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={name},r={}", self.nonce)
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare())
    }

    /// The second message, for what the server answers to the first. Blocks for some milliseconds.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(super) fn prove(&self, answer: &[u8]) -> Result<Proof, String> {
        let unusable = || "the broker's answer to the login is not of SCRAM".to_owned();
        let answer = std::str::from_utf8(answer).map_err(|_| unusable())?;
        let value = |name: &str| answer.split(',').find_map(|part| part.strip_prefix(name));
        let (nonce, salt) = (value("r=").ok_or_else(unusable)?, value("s=").ok_or_else(unusable)?);
        let salt = STANDARD.decode(salt).map_err(|_| unusable())?;
        let iterations: NonZeroU32 = value("i=").and_then(|text| text.parse().ok()).ok_or_else(unusable)?;
        if !ITERATIONS.contains(&iterations.get()) {
            let (least, most) = (ITERATIONS.start(), ITERATIONS.end());
            return Err(format!("the broker asks for {iterations} iterations; expected {least} to {most}"));
        }
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("the broker's answer to the login is that of another login".to_owned());
        }
        let mut salted = vec![0; self.hash.digest.output_len()];
        pbkdf2::derive(self.hash.pbkdf2, iterations, &salt, self.credentials.password.as_bytes(), &mut salted);
        // `biws` is the `n,,` of the first message.
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("{},{answer},{without_proof}", self.bare());
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac, key), text);
        let key = sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest, key.as_ref());
        let signature = sign(stored.as_ref(), transcript.as_bytes());
        let proof: Vec<u8> = key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let of_server = sign(sign(&salted, b"Server Key").as_ref(), transcript.as_bytes());
        Ok(Proof {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            expected: format!("v={}", STANDARD.encode(of_server)),
        })
    }
}

impl Proof {
    /// Checks that the server knows the password too.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn check(&self, answer: &[u8]) -> Result<(), String> {
        let is_known = answer.split(|byte| *byte == b',').any(|part| part == self.expected.as_bytes());
        if is_known { Ok(()) } else { Err("the broker does not prove that it knows the user's password".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials { username: "user".to_owned(), password: "pencil".to_owned() }
    }

    /// The example of RFC 7677, and an answer that is not the server's.
    #[test]
    fn the_example_of_the_standard() {
        let credentials = credentials();
        let mut scram = Scram::new(Mechanism::ScramSha256, &credentials).unwrap().unwrap();
        scram.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = scram.prove(format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").as_bytes()).unwrap();
        assert_eq!(proof.message, format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        assert_eq!(proof.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(proof.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=").is_err());
        assert!(proof.check(b"e=invalid-proof").is_err());
    }

    /// Answers that are none, that are of another login, or that would keep the thread busy.
    #[test]
    fn answers_that_lie_are_refused() {
        let credentials = credentials();
        let scram = Scram::new(Mechanism::ScramSha512, &credentials).unwrap().unwrap();
        let nonce = &scram.nonce;
        for (answer, expected) in [
            (String::new(), "not of SCRAM"),
            (format!("r={nonce}x,s=!,i=4096"), "not of SCRAM"),
            (format!("r={nonce}x,s=AAAA,i=0"), "not of SCRAM"),
            (format!("r={nonce},s=AAAA,i=4096"), "another login"),
            ("r=short,s=AAAA,i=4096".to_owned(), "another login"),
            (format!("r={nonce}x,s=AAAA,i=4000000000"), "4000000000 iterations"),
            (format!("r={nonce}x,s=AAAA,i=1"), "1 iterations; expected 4096"),
        ] {
            let why = scram.prove(answer.as_bytes()).unwrap_err();
            assert!(why.contains(expected), "{answer}: {why}");
        }
        assert!(scram.prove(format!("r={nonce}x,s=AAAA,i=4096").as_bytes()).is_ok());
    }

    /// Names may have the signs of the protocol; passwords are shown nowhere.
    #[test]
    fn names_are_escaped_and_passwords_hidden() {
        let credentials = Credentials { username: "a=b,c".to_owned(), ..credentials() };
        let scram = Scram::new(Mechanism::ScramSha256, &credentials).unwrap().unwrap();
        assert!(scram.first().starts_with("n,,n=a=3Db=2Cc,r="));
        assert_eq!(format!("{credentials:?}"), "***");
        assert_eq!(plain(&credentials), b"\0a=b,c\0pencil");
    }
}
