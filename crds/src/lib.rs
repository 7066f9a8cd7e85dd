//! The `Proxy` and `ProxyDataset` resource types. Empty until the operator is built.
