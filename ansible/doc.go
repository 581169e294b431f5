// Package ansible has the test of the playbooks in this directory: they make a
// cluster of machines that systemd boots, and mail flows while the machines are
// killed, upgraded and replaced. There is no Go code besides the test.
package ansible
