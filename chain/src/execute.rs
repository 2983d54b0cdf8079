//! A block against the state *and* the tree: what a validator does with a proposal, and what a
//! proposer does with a draft.

use cifer_genesis::BlockHash;

use crate::{
    apply::{Draft, Transition, Verified, apply_with},
    block::Block,
    error::ApplyError,
    state::State,
    tree::{StateTree, TreeError, TreeReader, TreeUpdate},
};

/// A block that is valid on its parent, with all that it changes, ready to be committed.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: BlockHash,
    /// What it does.
    pub transition: Transition,
    /// What it does to the tree.
    pub tree: TreeUpdate,
}

/// Why a block was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The proposer is at fault: vote against the block.
    #[error("invalid block: {0}")]
    Invalid(#[from] ApplyError),
    /// We are at fault: stop.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Applies a block and checks the state root of its header. `tree` holds the version of
/// `state.height`.
///
/// # Errors
/// [`ExecuteError`].
pub fn execute<R: TreeReader + ?Sized>(
    tree: &R,
    state: &State,
    block: Block,
    verified: Verified<'_>,
) -> Result<Executed, ExecuteError> {
    let transition = apply_with(state, &block, verified)?;
    let update = StateTree::new(tree).compute(&transition.writes, block.header.height)?;
    let (got, computed) = (block.header.state_root, update.root);
    if got != computed {
        return Err(ApplyError::StateRoot { got, computed }.into());
    }
    Ok(Executed {
        hash: block.hash(),
        block,
        transition,
        tree: update,
    })
}

/// Fills the state root into a draft.
///
/// # Errors
/// [`TreeError`].
pub fn propose<R: TreeReader + ?Sized>(tree: &R, draft: Draft) -> Result<Executed, TreeError> {
    let height = draft.block.header.height;
    let update = StateTree::new(tree).compute(&draft.transition.writes, height)?;
    let (block, transition) = draft.seal(update.root);
    Ok(Executed {
        hash: block.hash(),
        block,
        transition,
        tree: update,
    })
}
