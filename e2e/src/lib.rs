//! Test parts: fake Receiver, load generator, process harness.
