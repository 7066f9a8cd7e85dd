//! The controllers. Empty until the operator is built.
