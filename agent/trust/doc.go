// Package trust decides whether a commit says what the right people want.
//
// It believes no server and no peer. From the commit that a host trusts it
// follows the first-parent chain to a new head, step by step, over the raw bytes
// of the objects: each commit in strict canonical form, each change of a path
// agreed to by enough distinct people of every role that owns it, as the roles
// were at the step's start (LANGUAGE "fleet and trust", DESIGN 4.3). What is in
// the files is none of its business: it is read only once they are trusted.
//
// Nothing here reads a clock, a file or the network: a Source gives the objects.
package trust
