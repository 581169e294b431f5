package main

import (
	"context"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// sourceEnrol keeps the list of what only a person can do at a receiver.
func (a *app) sourceEnrol() *cobra.Command {
	var s admin.SetEnrolment
	c := a.verb("enrol ADDRESS PROGRAMME", "Note how far a source's enrolment at a receiver is", `  postern source enrol 192.0.2.10 snds --state applied --note 'ticket 7'
  postern source enrol 192.0.2.10 t-online --state done`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.Enrol(ctx, args[0], args[1], s)
			if err != nil {
				return err
			}
			return a.show(x, func() {
				for _, e := range x.Enrolments {
					a.say("%-17s %-11s %s", e.Programme, e.State, e.Note)
				}
			})
		})
	c.Long = `Note how far a source's enrolment in a receiver's programme is. What the
programmes want is done by a person, on their pages; Postern keeps the list, and
postern doctor says what is still to do:

  snds              Microsoft: what it sees of the IP (SNDS)
  jmrp              Microsoft: complaints about mail from the IP
  t-online          T-Online takes mail from unknown IPs once it was written to
  yahoo-cfl         Yahoo: complaints, by DKIM domain
  postmaster-tools  Google: what it thinks of the domain and the IP
  abuse-contact     the abuse address of the IP's range, at the registry`
	c.Flags().StringVar(&s.State, "state", "", "to-do, applied, done or not-needed (required)")
	c.Flags().StringVar(&s.Note, "note", "", "a ticket, or who has the login")
	_ = c.MarkFlagRequired("state") // the flag exists
	return c
}
