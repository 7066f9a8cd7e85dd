//! Pages of the lists that the API shows: which rows, and how many.

use crate::ids::{DatasetId, DatasetKey, TenantId};

/// Rows of a page when a query does not say.
pub const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// Rows of a page, by a query's `limit`.
pub fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(DEFAULT).clamp(1, MOST)
}

/// Whether a query that may name a tenant and a dataset wants this one.
pub fn wants(tenant: Option<&TenantId>, dataset: Option<&DatasetId>, key: &DatasetKey) -> bool {
    tenant.is_none_or(|tenant| *tenant == key.tenant) && dataset.is_none_or(|dataset| *dataset == key.dataset)
}

/// Shortens rows, of which there is one more when there is another page, to a page; returns the offset of the next one.
pub fn cut<T>(rows: &mut Vec<T>, offset: usize, page: usize) -> Option<usize> {
    let more = rows.len() > page;
    rows.truncate(page);
    more.then_some(offset + page)
}
