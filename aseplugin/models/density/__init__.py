"""PE-EDP: the electron density of an interface at any charge of the electrode."""
