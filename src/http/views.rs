//! The routes of the page and of its API.

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};

use super::node_view::ViewCache;
use super::{api, page};

/// Adds the API and the page, which show what `looks` has.
pub fn view_routes(config: &mut ServiceConfig, views: &Arc<ViewCache>) {
    config.app_data(Data::from(Arc::clone(views)));
    api::routes(config);
    page::routes(config);
}
