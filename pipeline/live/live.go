// Package live shows a run while it works: a page, metrics for Prometheus, and whether it is well.
package live
