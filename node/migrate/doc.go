// Package migrate hides how other mail servers write down what they do: Postfix's
// settings, services and tables, Dovecot's users, OpenDKIM's keys, lists of
// addresses nothing is sent to. It reads them, each with a bound, and makes of
// them one tenant's declaration, with what could not be carried and why. It asks
// no node and no network, runs nothing that stands in those files, and tells
// nobody what is secret in them.
package migrate
