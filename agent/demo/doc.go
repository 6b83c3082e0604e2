// Package demo shows the main job on simulated hosts: a push takes hold on
// every host of a fleet, and what they are is back in the repository.
//
// Agents, store, evaluator, gossip, streams and reports are those of
// production, over real sockets on loopback; only agent/host is simulated. The
// package tells what happens as steps, which people see and programs read, and
// checks at the end that the reports say what the hosts hold. How it looks is
// the command line's.
package demo
