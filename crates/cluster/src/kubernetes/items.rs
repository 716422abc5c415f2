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
use super::form::Form;
use super::inflate::Data;
use super::protobuf::ListCutter;
use super::resource::Resource;
use crate::cutter::{Cutter, TooLong};

/// The items of a list.
#[derive(Debug)]
pub(super) struct Items {
    data: Data,
    cutter: FormCutter,
}

/// Cuts items out of a list of one of the forms.
#[derive(Debug)]
enum FormCutter {
    Json(Box<Cutter>),
    Protobuf(ListCutter),
}

impl FormCutter {
    fn of(form: Form, resource: &Resource) -> Self {
        match form {
            Form::Json => Self::Json(Box::default()),
            Form::Protobuf => Self::Protobuf(ListCutter::of(resource)),
        }
    }

    fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        Ok(match self {
            Self::Json(cutter) => cutter.next()?.map(|cut| cut.item),
            Self::Protobuf(cutter) => cutter.next()?,
        })
    }

    fn push(&mut self, data: &[u8]) {
        match self {
            Self::Json(cutter) => cutter.push(data),
            Self::Protobuf(cutter) => cutter.push(data),
        }
    }

    /// False if more of the list must follow. The end of one in JSON is looked for when the rest is
    /// read.
    fn is_complete(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Protobuf(cutter) => cutter.is_complete(),
        }
    }
}

impl From<TooLong> for ApiError {
    fn from(error: TooLong) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Items {
    /// The items of an answer to a request for a list of these objects.
    pub(super) fn new(response: Response<Body>, resource: &Resource) -> Result<Self, ApiError> {
        let form = Form::of(response.headers());
        Ok(Self { data: Data::new(response)?, cutter: FormCutter::of(form, resource) })
    }

    /// The next item; none after the last one. Waits for each piece of it at most `timeout`.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some(item) = self.cutter.next()? {
                return Ok(Some(item));
            }
            match tokio::time::timeout(timeout, self.data.next()).await {
                Err(_) => return Err(ApiError::Timeout(timeout)),
                Ok(piece) => match piece? {
                    Some(data) => self.cutter.push(&data),
                    None if self.cutter.is_complete() => return Ok(None),
                    None => return Err(ApiError::Interrupted("in the middle of a list".to_owned())),
                },
            }
        }
    }

    /// The list without items, as far as it was there before the first item.
    pub(super) fn beginning(&self) -> Vec<u8> {
        match &self.cutter {
            FormCutter::Json(cutter) => cutter.beginning(),
            FormCutter::Protobuf(cutter) => cutter.metadata().to_vec(),
        }
    }

    /// The form of items and rest.
    pub(super) fn form(&self) -> Form {
        match self.cutter {
            FormCutter::Json(_) => Form::Json,
            FormCutter::Protobuf(_) => Form::Protobuf,
        }
    }

    /// The list without items, after the last one.
    pub(super) fn into_rest(self) -> Vec<u8> {
        match self.cutter {
            FormCutter::Json(cutter) => cutter.into_rest(),
            FormCutter::Protobuf(cutter) => cutter.metadata().to_vec(),
        }
    }
}
