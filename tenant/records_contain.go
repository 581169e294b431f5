package tenant

func (*Contain) kind() recordKind { return kindContain }

func (x *Contain) code(c *coder) {
	number(c, &x.Mode)
	for _, d := range x.Rule.spans() {
		size(c, d)
	}
	for _, n := range []*int{&x.Rule.Culprit, &x.Rule.Suspect, &x.Rule.Top, &x.Rule.Hourly} {
		size(c, n)
	}
}

func (x *Counts) code(c *coder) {
	c.uint(&x.Tried)
	c.uint(&x.Delivered)
	c.uint(&x.Unknown)
	c.uint(&x.Content)
}

func (c *coder) used(o *Used) {
	number(c, &o.Node)
	list(c, &o.Uses, MaxUses, func(c *coder, u *Use) {
		number(c, &u.Account)
		number(c, &u.Source)
		c.time(&u.At)
		u.Counts.code(c)
	})
}

func (*uses) kind() recordKind { return kindUses }

func (x *uses) code(c *coder) {
	number(c, &x.account)
	list(c, &x.spans, maxUses, func(c *coder, s *useSpan) {
		c.uint(&s.slot)
		number(c, &s.source)
		s.counts.code(c)
	})
}

func (*Evidence) kind() recordKind { return kindEvidence }

func (e *Evidence) code(c *coder) {
	c.uint(&e.ID)
	number(c, &e.Account)
	number(c, &e.Source)
	c.time(&e.At)
	c.str(&e.Note, maxReason)
}

func (c *coder) addEvidence(o *AddEvidence) {
	number(c, &o.Account)
	number(c, &o.Source)
	c.str(&o.Note, maxReason)
}

func (c *coder) passed(o *Passed) {
	c.uint(&o.Case)
	number(c, &o.Tenant)
	c.time(&o.LastDot)
	c.time(&o.First)
}

func (*dismissal) kind() recordKind { return kindDismissal }

func (x *dismissal) code(c *coder) {
	number(c, &x.source)
	c.time(&x.at)
}

func (*Plight) kind() recordKind { return kindPlight }

func (p *Plight) code(c *coder) {
	number(c, &p.Tenant)
	c.time(&p.Since)
	c.str(&p.Why, maxReason)
	list(c, &p.Spans, maxSpans, codeSpan)
	c.time(&p.Moved)
	c.time(&p.Home)
}

func (*Case) kind() recordKind { return kindCase }

func (x *Case) code(c *coder) {
	c.uint(&x.ID)
	number(c, &x.Source)
	c.addr(&x.Addr)
	number(c, &x.Node)
	c.bool(&x.Drill)
	number(c, &x.Only)
	number(c, &x.Mode)
	c.time(&x.Seen)
	c.time(&x.Raised)
	c.uint(&x.Entry)
	size(c, &x.Score)
	list(c, &x.Inputs, maxZones, func(c *coder, i *CaseInput) {
		c.str(&i.Zone, maxHost)
		for _, n := range []*int{&i.Listed, &i.Clean, &i.Blind, &i.Counts} {
			size(c, n)
		}
		codeValues(c, &i.Codes)
	})
	list(c, &x.Suspects, maxSuspects, codeSuspect)
	number(c, &x.Culprit)
	list(c, &x.Fates, maxFates, codeFate)
	c.time(&x.Ended)
	c.str(&x.Why, maxReason)
	c.bool(&x.Dismissed)
}

func codeSuspect(c *coder, s *Suspect) {
	number(c, &s.Account)
	number(c, &s.Tenant)
	size(c, &s.Score)
	list(c, &s.Terms, maxTerms, func(c *coder, t *SuspectTerm) {
		c.str(&t.Name, maxName)
		size(c, &t.Points)
		c.bool(&t.NoData)
		c.str(&t.Text, maxReason)
	})
	c.bool(&s.Held)
}

func codeFate(c *coder, f *Fate) {
	number(c, &f.Tenant)
	number(c, &f.Kind)
	c.str(&f.Why, maxReason)
	c.time(&f.At)
	codePlace(c, &f.To)
	c.time(&f.Until)
	c.time(&f.Owned)
	c.time(&f.LastDot)
	c.time(&f.First)
}
