package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"postern/node"
)

// examining is what doctor --machine is told.
type examining struct {
	on      bool
	sources []string
	reach   []string
	zones   string
}

// someHosts take mail for many people, and answer everybody who connects.
var someHosts = []string{"gmail-smtp-in.l.google.com:25", "mx00.t-online.de:25", "mta5.am0.yahoodns.net:25"}

func (x *examining) flags(f *pflag.FlagSet) {
	f.BoolVar(&x.on, "machine", false, "look at this machine instead, with or without a cluster")
	f.StringSliceVar(&x.sources, "source", nil, "with --machine: outbound IP that shall be here (repeatable)")
	f.StringSliceVar(&x.reach, "reach", nil, "with --machine: HOST:PORT of mail servers to try, or none (default: three large ones)")
	f.StringVar(&x.zones, "zones", "", "with --machine: zones file (default: that of postern zones)")
}

// examined is what doctor --machine found.
type examined struct {
	Well     bool                  `json:"well"`
	File     string                `json:"file"`
	Wrong    int                   `json:"wrong"`
	Doubt    int                   `json:"doubt"`
	Unknown  int                   `json:"unknown"`
	Findings []node.MachineFinding `json:"findings"`
}

func (a *app) examine(ctx context.Context, x examining, all bool) error {
	look := node.Examination{Done: a.progress(node.ExaminationParts)}
	for _, text := range x.sources {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return usagef("--source %q is no address", clean(text))
		}
		look.Sources = append(look.Sources, addr.Unmap())
	}
	if len(x.reach) == 0 {
		x.reach = someHosts
	}
	if len(x.reach) != 1 || x.reach[0] != "none" {
		for _, host := range x.reach {
			if _, _, err := net.SplitHostPort(host); err != nil {
				return usagef("--reach %q is not HOST:PORT", clean(host))
			}
		}
		look.Reach = x.reach
	}
	book, err := a.book(x.zones)
	if err != nil {
		return err
	}
	look.Zones = book
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := examined{File: a.configFile()}
	if e.Findings, err = node.Examine(ctx, e.File, look); err != nil {
		return err
	}
	for _, f := range e.Findings {
		switch f.State {
		case node.MachineWrong:
			e.Wrong++
		case node.MachineDoubt:
			e.Doubt++
		case node.MachineUnknown:
			e.Unknown++
		}
	}
	e.Well = e.Wrong == 0 && e.Unknown == 0
	if err := a.show(e, func() { a.examined(&e, all) }); err != nil || e.Well {
		return err
	}
	return errSilent
}

// examined writes what is wrong first.
func (a *app) examined(e *examined, all bool) {
	heads := []struct{ state, head string }{{node.MachineWrong, "WRONG"}, {node.MachineUnknown, "NOT KNOWN"}, {node.MachineDoubt, "Doubtful"}}
	if all {
		heads = append(heads, struct{ state, head string }{node.MachineOK, "Well"})
	}
	for _, h := range heads {
		head := false
		for _, f := range e.Findings {
			if f.State != h.state {
				continue
			}
			if !head {
				a.say("%s", h.head)
				head = true
			}
			a.paragraph("  ", clean(f.Text))
			for i, line := range fold(clean(f.Mend), wide-5) {
				a.say("%s%s", [2]string{"  -> ", "     "}[min(i, 1)], line)
			}
		}
	}
	a.paragraph("", some(len(e.Findings), "finding")+": "+count(e.Wrong)+" wrong, "+count(e.Unknown)+" not known, "+count(e.Doubt)+" doubtful. "+
		"Nobody can see from here whether the ports are open inward: try nc -vz HOST 587 from elsewhere.")
}
