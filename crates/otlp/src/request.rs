//! Requests of OTLP logs: a resource, a scope and records of one stream.
//!
//! Records are appended as they are encoded; the lengths in front of them are written when the
//! request is complete.

use std::io;

use bytes::Bytes;
use thiserror::Error;

use crate::attributes::Attributes;
use crate::encoding::Encoding;
use crate::protobuf::{Fields, Malformed, Value, put_bytes, put_len};
use crate::record::Encoded;

/// Bytes of a request that is decompressed at most.
pub const MAX_REQUEST_BYTES: usize = 64 << 20;

/// `ExportLogsServiceRequest.resource_logs`.
const RESOURCE_LOGS: u8 = 1 << 3 | 2;
/// `ResourceLogs.resource`.
const RESOURCE: u8 = 1 << 3 | 2;
/// `Resource.attributes`.
const RESOURCE_ATTRIBUTE: u8 = 1 << 3 | 2;
/// `ResourceLogs.scope_logs`.
const SCOPE_LOGS: u8 = 2 << 3 | 2;
/// `ScopeLogs.scope`.
const SCOPE: u8 = 1 << 3 | 2;
/// `InstrumentationScope.name` and `.version`.
const SCOPE_NAME: u8 = 1 << 3 | 2;
const SCOPE_VERSION: u8 = 2 << 3 | 2;
/// `ScopeLogs.log_records`.
const LOG_RECORD: u8 = 2 << 3 | 2;

/// What the records of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Rows of rollups, heartbeats and gaps.
    Rollups = 0,
    /// Single flows. Without room these are lost first.
    Flows = 1,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 2] = [Self::Rollups, Self::Flows];

    /// Its name in the configuration, in metrics and in names of files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rollups => "rollups",
            Self::Flows => "flows",
        }
    }
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stream of its records.
    pub stream: Stream,
    /// Number of its records.
    pub records: u32,
    /// Bytes before compression.
    pub plain_bytes: usize,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// The body: an `ExportLogsServiceRequest`.
    pub body: Bytes,
}

/// Error of a body that is no request of ours.
#[derive(Debug, Error)]
pub(crate) enum InvalidRequest {
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {0}")]
    Compression(#[from] io::Error),
    /// It is something else.
    #[error("it is no request of OTLP logs")]
    Malformed,
}

impl From<Malformed> for InvalidRequest {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Collects records until they are taken as a request.
#[derive(Debug)]
pub struct RequestBuilder {
    stream: Stream,
    /// `ResourceLogs.resource`, as a field.
    resource: Vec<u8>,
    /// `ScopeLogs.scope`, as a field.
    scope: Vec<u8>,
    /// `ScopeLogs.log_records`, as fields.
    records: Vec<u8>,
    count: u32,
}

impl RequestBuilder {
    /// A builder without records. `resource`: attributes of the agent, the same in all requests.
    pub fn new(stream: Stream, resource: &Attributes, scope_name: &str, scope_version: &str) -> Self {
        let mut fields = Vec::new();
        for attribute in Fields(&resource.bytes).filter_map(|field| field.ok()?.1.bytes()) {
            put_bytes(&mut fields, RESOURCE_ATTRIBUTE, attribute);
        }
        let mut names = Vec::new();
        put_bytes(&mut names, SCOPE_NAME, scope_name.as_bytes());
        put_bytes(&mut names, SCOPE_VERSION, scope_version.as_bytes());
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        put_bytes(&mut resource, RESOURCE, &fields);
        put_bytes(&mut scope, SCOPE, &names);
        Self { stream, resource, scope, records: Vec::new(), count: 0 }
    }

    /// The stream of the records.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Number of records.
    pub fn records(&self) -> u32 {
        self.count
    }

    /// Bytes of the request so far, before compression.
    pub fn plain_bytes(&self) -> usize {
        self.records.len() + self.resource.len() + self.scope.len() + 4 * 3
    }

    /// Appends a record. Allocates only while the buffer grows.
    pub fn push(&mut self, record: Encoded<'_>) {
        put_bytes(&mut self.records, LOG_RECORD, record.0);
        self.count += 1;
    }

    /// Takes the records as a request, compressed; none if there are none.
    ///
    /// # Errors
    /// If the compressor fails, for want of memory. The records stay.
    pub fn take(&mut self, encoding: Encoding) -> io::Result<Option<Request>> {
        if self.count == 0 {
            return Ok(None);
        }
        let request = make(self.stream, &self.resource, &self.scope, self.count, &[&self.records], encoding)?;
        self.records.clear();
        self.count = 0;
        Ok(Some(request))
    }
}

/// A request of fields that are encoded already.
fn make(
    stream: Stream,
    resource: &[u8],
    scope: &[u8],
    count: u32,
    records: &[&[u8]],
    encoding: Encoding,
) -> io::Result<Request> {
    let in_scope = scope.len() + records.iter().map(|record| record.len()).sum::<usize>();
    let mut inner = resource.to_vec();
    inner.push(SCOPE_LOGS);
    put_len(&mut inner, in_scope);
    let mut head = vec![RESOURCE_LOGS];
    put_len(&mut head, inner.len() + in_scope);
    head.extend_from_slice(&inner);
    head.extend_from_slice(scope);
    let plain_bytes = head.len() + in_scope - scope.len();
    let mut parts = vec![&head[..]];
    parts.extend_from_slice(records);
    let body = Bytes::from(encoding.compress(&parts)?);
    Ok(Request { stream, records: count, plain_bytes, encoding, body })
}

/// A request as its fields.
pub(crate) struct Parts<'a> {
    /// As [`RequestBuilder`] has them.
    pub(crate) resource: &'a [u8],
    pub(crate) scope: &'a [u8],
    pub(crate) records: Vec<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Reads a request as [`make`] writes it: one resource, one scope.
    pub(crate) fn read(plain: &'a [u8]) -> Result<Self, Malformed> {
        let resource_logs = only(plain, RESOURCE_LOGS)?;
        let mut fields = Fields(resource_logs);
        let resource = field(&mut fields, RESOURCE)?;
        let scope_logs = only(fields.0, SCOPE_LOGS)?;
        let mut fields = Fields(scope_logs);
        let scope = field(&mut fields, SCOPE)?;
        let mut records = Vec::new();
        while !fields.0.is_empty() {
            records.push(field(&mut fields, LOG_RECORD)?);
        }
        Ok(Self { resource, scope, records })
    }
}

/// The bytes of the next field, with its tag, which must be this one.
fn field<'a>(fields: &mut Fields<'a>, tag: u8) -> Result<&'a [u8], Malformed> {
    let before = fields.0;
    let (number, value) = fields.next().ok_or(Malformed)??;
    if number != u64::from(tag >> 3) || !matches!(value, Value::Bytes(_)) {
        return Err(Malformed);
    }
    before.get(..before.len() - fields.0.len()).ok_or(Malformed)
}

/// The content of the only field, which must have this tag.
fn only(bytes: &[u8], tag: u8) -> Result<&[u8], Malformed> {
    let mut fields = Fields(bytes);
    let (number, value) = fields.next().ok_or(Malformed)??;
    match value {
        Value::Bytes(content) if number == u64::from(tag >> 3) && fields.0.is_empty() => Ok(content),
        _ => Err(Malformed),
    }
}

impl Request {
    /// Checks a body, and counts its records and plain bytes.
    pub(crate) fn inspect(encoding: Encoding, body: &[u8]) -> Result<(u32, usize), InvalidRequest> {
        let plain = encoding.decompress(body, MAX_REQUEST_BYTES)?;
        let records = Parts::read(&plain)?.records.len();
        Ok((u32::try_from(records).map_err(|_| Malformed)?, plain.len()))
    }

    /// The same records, compressed in another way.
    pub(crate) fn recoded(&self, encoding: Encoding) -> Result<Self, InvalidRequest> {
        let plain = self.encoding.decompress(&self.body, MAX_REQUEST_BYTES)?;
        Ok(Self { encoding, body: Bytes::from(encoding.compress(&[&plain])?), ..self.clone() })
    }

    /// Two requests with the records of this one, in their order; none if it has a single record.
    pub(crate) fn halves(&self) -> Result<Option<[Self; 2]>, InvalidRequest> {
        let plain = self.encoding.decompress(&self.body, MAX_REQUEST_BYTES)?;
        let parts = Parts::read(&plain)?;
        if parts.records.len() < 2 {
            return Ok(None);
        }
        let (first, second) = parts.records.split_at(parts.records.len() / 2);
        let half = |records: &[&[u8]]| -> Result<Self, InvalidRequest> {
            let count = u32::try_from(records.len()).map_err(|_| Malformed)?;
            Ok(make(self.stream, parts.resource, parts.scope, count, records, self.encoding)?)
        };
        Ok(Some([half(first)?, half(second)?]))
    }

    /// Says which record a request of a single one has, by the name of its event.
    pub(crate) fn event_name(&self) -> String {
        const EVENT_NAME: u64 = 12;
        let Ok(plain) = self.encoding.decompress(&self.body, MAX_REQUEST_BYTES) else { return String::new() };
        let Ok(parts) = Parts::read(&plain) else { return String::new() };
        let record = parts.records.first().and_then(|field| Fields(field).next()?.ok()?.1.bytes());
        let name = record.and_then(|record| {
            Fields(record).filter_map(Result::ok).find(|(number, _)| *number == EVENT_NAME)?.1.bytes()
        });
        name.map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
    }
}
