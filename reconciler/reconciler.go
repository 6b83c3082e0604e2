// Package reconciler decides what a node should be and makes it so.
//
// Plan is pure: it takes a policy, what the roster and the host say, and an
// instant, and gives the node's desired state with its reasons. The same Plan
// runs on a host for itself, before a merge for ten thousand hosts from their
// reported facts, and in a test. Converge takes a plan to a host: it looks,
// writes down what it will do, does it, and looks again.
//
// The package composes its leaves, which never import each other: schedule,
// target, baseline and compliance decide; the packages below kind check and
// apply one kind of resource each.
package reconciler
