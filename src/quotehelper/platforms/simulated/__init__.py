"""An SGX platform in software: processor, quoting and provisioning enclaves, and a private provisioning authority.

Complete in its cryptography and exact in its bytes, yet it can never pass for the real thing: whoever verifies its
quotes must have been given its root certificate on purpose.
"""
