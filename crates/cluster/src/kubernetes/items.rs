//! A list, read item by item while it arrives.
//!
//! A server that answers from its watch cache does not split a list into pages: the pods of a large
//! cluster come as one answer of a gigabyte. So items are cut out of the answer without the whole
//! of it being in memory; each is then read on its own. What remains is the list without its items.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use kube::client::Body;

use super::error::ApiError;
use super::inflate::Data;
use crate::cutter::{Cutter, TooLong};

/// The items of a list.
#[derive(Debug)]
pub(super) struct Items {
    data: Data,
    cutter: Cutter,
}

impl From<TooLong> for ApiError {
    fn from(error: TooLong) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Items {
    pub(super) fn new(response: Response<Body>) -> Result<Self, ApiError> {
        Ok(Self { data: Data::new(response)?, cutter: Cutter::default() })
    }

    /// The next item; none after the last one. Waits for each piece of it at most `timeout`.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some(cut) = self.cutter.next()? {
                return Ok(Some(cut.item));
            }
            match tokio::time::timeout(timeout, self.data.next()).await {
                Err(_) => return Err(ApiError::Timeout(timeout)),
                Ok(piece) => match piece? {
                    Some(data) => self.cutter.push(&data),
                    None => return Ok(None),
                },
            }
        }
    }

    /// The list without items, as far as it was there before the first item.
    pub(super) fn beginning(&self) -> Vec<u8> {
        self.cutter.beginning()
    }

    /// The list without items, after the last one.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.cutter.into_rest()
    }
}
