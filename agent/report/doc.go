// Package report builds and checks the branch of reports (LANGUAGE "Reports
// branch"): a line a node, signed by that node, the facts behind it, and pages
// for people.
//
// Build is a pure function of what the branch holds and what a reporter knows.
// It merges by node and revision, so that two reporters who write at the same
// time, the later one building again upon the earlier one's commit, lose
// nothing and write nothing twice. A reporter only carries lines: it cannot
// make one, because a line is signed by its node (SignLine, VerifyLine).
//
// Whatever comes from a node or from the branch is hostile until checked: it is
// parsed strictly, bounded, and escaped on every page.
//
// The one part that keeps something is Revisions, a node's own counter.
package report
