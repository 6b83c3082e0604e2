// Package agenttest gives tests real hosts: Linux systems with their own files,
// processes, systemd, packages, network and firewall, on one machine.
//
// It stands above agent and is imported by tests only. The hosts are made by
// testbed/testbed (testbed/README.md says what one is); each call of [Hosts]
// has a network of its own, so that tests may run at the same time. What is
// costly, the Debian roots below the hosts, is built once per machine under
// $TESTBED_DIR (by default dunlin-testbed in the folder for temporary files)
// and shared by all test processes.
//
// [NewGitServer] gives them a repository that real git and sshd programs serve
// on their network, and that a test can take away.
//
// Hosts need root, overlayfs, veth and nf_tables. A test on a machine without
// them fails and says what is missing; it is not skipped.
package agenttest
