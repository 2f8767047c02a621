"""What Intel, or a simulated authority, signs: certificates, CRLs, TCB info, enclave identities. Pure.

Reading here proves nothing: whoever trusts a document must have verified its signature first.
"""
