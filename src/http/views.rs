//! The routes of the page and of its API.

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};

use super::look::Looks;
use super::{api, page};

/// Adds the API and the page, which show what `looks` has.
pub fn look_routes(config: &mut ServiceConfig, looks: &Arc<Looks>) {
    config.app_data(Data::from(Arc::clone(looks)));
    api::routes(config);
    page::routes(config);
}
