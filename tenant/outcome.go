package tenant

import "fmt"

// eventCode names an event in the memory of requests. Values are stored: do
// not reorder.
type eventCode byte

const (
	evNodeAdded eventCode = iota + 1
	evSourceAdded
	evSourceRemoved
	evTenantAdded
	evTenantRemoved
	evTenantChanged
	evAccountAdded
	evAccountChanged
	evAccountRemoved
	evDomainChanged
	evRouteChanged
	evOwned
	evGranted
	evNodeChanged
	evNodeRemoved
	evNodeDown
	evNodeUp
	evAuthoritySet
	evTokenChanged
	evCopiesChanged
	evStranded
	evListsChanged
	evListingChanged
	evListingRaised
	evListingCleared
	evZoneSetAside
	evCaseOpened
	evCaseEnded
)

// maxEvents is more than one command can make: a tenant's accounts and domains.
const maxEvents = 2*maxOfTenant + 1

type outcome struct {
	refused bool
	reason  string
	events  []Event
}

func (o *outcome) code(c *coder) {
	c.bool(&o.refused)
	if o.refused {
		c.str(&o.reason, maxOutcome)
		return
	}
	list(c, &o.events, maxEvents, codeEvent)
}

func encodeOutcome(events []Event, err error) string {
	o := outcome{events: events}
	if err != nil {
		o = outcome{refused: true, reason: err.Error()}
	}
	c := &coder{out: make([]byte, 0, 64)}
	o.code(c)
	return string(c.out)
}

func decodeOutcome(s string) ([]Event, error) {
	var o outcome
	if err := decode([]byte(s), false, o.code); err != nil {
		return nil, fmt.Errorf("decode outcome: %w", err)
	}
	if o.refused {
		return nil, &Refused{Reason: o.reason}
	}
	return o.events, nil
}

func codeEvent(c *coder, e *Event) {
	code := eventCodeOf(*e)
	number(c, &code)
	switch code {
	case evNodeAdded:
		codeEventAs(c, e, func(c *coder, v *NodeAdded) { number(c, &v.Node) })
	case evSourceAdded:
		codeEventAs(c, e, func(c *coder, v *SourceAdded) { number(c, &v.Source) })
	case evSourceRemoved:
		codeEventAs(c, e, func(c *coder, v *SourceRemoved) { number(c, &v.Source) })
	case evTenantAdded:
		codeEventAs(c, e, func(c *coder, v *TenantAdded) { number(c, &v.Tenant) })
	case evTenantRemoved:
		codeEventAs(c, e, func(c *coder, v *TenantRemoved) { number(c, &v.Tenant) })
	case evTenantChanged:
		codeEventAs(c, e, func(c *coder, v *TenantChanged) { number(c, &v.Tenant) })
	case evAccountAdded:
		codeEventAs(c, e, func(c *coder, v *AccountAdded) { number(c, &v.Account) })
	case evAccountChanged:
		codeEventAs(c, e, func(c *coder, v *AccountChanged) { number(c, &v.Account) })
	case evAccountRemoved:
		codeEventAs(c, e, func(c *coder, v *AccountRemoved) { number(c, &v.Account) })
	case evDomainChanged:
		codeEventAs(c, e, func(c *coder, v *DomainChanged) { c.str(&v.Name, maxHost) })
	case evRouteChanged:
		codeEventAs(c, e, func(c *coder, v *RouteChanged) { c.str(&v.Domain, maxHost) })
	case evOwned:
		codeEventAs(c, e, func(c *coder, v *Owned) { number(c, &v.Tenant); number(c, &v.Node); c.uint(&v.Epoch) })
	case evGranted:
		codeEventAs(c, e, func(c *coder, v *Granted) { codeGrant(c, &v.Grant); c.bool(&v.Short) })
	case evNodeChanged:
		codeEventAs(c, e, func(c *coder, v *NodeChanged) { number(c, &v.Node) })
	case evNodeRemoved:
		codeEventAs(c, e, func(c *coder, v *NodeRemoved) { number(c, &v.Node) })
	case evNodeDown:
		codeEventAs(c, e, func(c *coder, v *NodeDown) { number(c, &v.Node) })
	case evNodeUp:
		codeEventAs(c, e, func(c *coder, v *NodeUp) { number(c, &v.Node) })
	case evAuthoritySet:
		codeEventAs(c, e, func(*coder, *AuthoritySet) {})
	case evTokenChanged:
		codeEventAs(c, e, func(c *coder, v *TokenChanged) { c.raw(v.Hash[:]) })
	case evCopiesChanged:
		codeEventAs(c, e, func(c *coder, v *CopiesChanged) { number(c, &v.Tenant); c.uint(&v.Generation) })
	case evStranded:
		codeEventAs(c, e, func(c *coder, v *Stranded) { number(c, &v.Tenant) })
	default:
		codeListingEvent(c, e, code)
	}
}

func codeListingEvent(c *coder, e *Event, code eventCode) {
	switch code {
	case evListsChanged:
		codeEventAs(c, e, func(*coder, *ListsChanged) {})
	case evListingChanged:
		codeEventAs(c, e, func(c *coder, v *ListingChanged) { number(c, &v.Source); number(c, &v.Level) })
	case evListingRaised:
		codeEventAs(c, e, func(c *coder, v *ListingRaised) { number(c, &v.Source); size(c, &v.Score) })
	case evListingCleared:
		codeEventAs(c, e, func(c *coder, v *ListingCleared) { number(c, &v.Source) })
	case evZoneSetAside:
		codeEventAs(c, e, func(c *coder, v *ZoneSetAside) { c.str(&v.Zone, maxHost); c.bool(&v.Aside) })
	case evCaseOpened:
		codeEventAs(c, e, func(c *coder, v *CaseOpened) { c.uint(&v.Case); number(c, &v.Source) })
	case evCaseEnded:
		codeEventAs(c, e, func(c *coder, v *CaseEnded) { c.uint(&v.Case) })
	default:
		c.fail(errBounds)
	}
}

func codeEventAs[T Event](c *coder, e *Event, code func(*coder, *T)) {
	var v T
	if !c.reading {
		v = (*e).(T)
	}
	code(c, &v)
	if c.reading {
		*e = v
	}
}

func eventCodeOf(e Event) eventCode {
	switch e.(type) {
	case NodeAdded:
		return evNodeAdded
	case SourceAdded:
		return evSourceAdded
	case SourceRemoved:
		return evSourceRemoved
	case TenantAdded:
		return evTenantAdded
	case TenantRemoved:
		return evTenantRemoved
	case TenantChanged:
		return evTenantChanged
	case AccountAdded:
		return evAccountAdded
	case AccountChanged:
		return evAccountChanged
	case AccountRemoved:
		return evAccountRemoved
	case DomainChanged:
		return evDomainChanged
	case RouteChanged:
		return evRouteChanged
	case Owned:
		return evOwned
	case Granted:
		return evGranted
	case NodeChanged:
		return evNodeChanged
	case NodeRemoved:
		return evNodeRemoved
	case NodeDown:
		return evNodeDown
	case NodeUp:
		return evNodeUp
	case AuthoritySet:
		return evAuthoritySet
	case TokenChanged:
		return evTokenChanged
	case CopiesChanged:
		return evCopiesChanged
	case Stranded:
		return evStranded
	case ListsChanged:
		return evListsChanged
	case ListingChanged:
		return evListingChanged
	case ListingRaised:
		return evListingRaised
	case ListingCleared:
		return evListingCleared
	case ZoneSetAside:
		return evZoneSetAside
	case CaseOpened:
		return evCaseOpened
	case CaseEnded:
		return evCaseEnded
	}
	return 0
}
