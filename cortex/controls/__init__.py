"""Controls: can the explanations be trusted?"""
