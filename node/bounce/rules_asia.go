package bounce

var qqRules = []rule{
	{class: IPThrottle, scope: ScopeSource, hold: true, words: []string{"ip frequency limited"}},
}

var neteaseRules = []rule{
	{class: SpamContent, scope: ScopeMessage, words: []string{"dt:spm"}},
}
